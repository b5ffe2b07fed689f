"""Outside programs as entrants, so that public code can be set beside ours with none of it in the project.

`NAME=COMMAND`: the command runs once a repeat, in turn with ours and without a shell. The last word that it prints is
its rate, in the units of the suite; timing (by the clock that ours go by), warm-up and equal settings are the command's
business.
"""

from __future__ import annotations

import math
import shlex
import subprocess
from dataclasses import dataclass

from dwm_ray.runs.folder import RunFailed

TIMEOUT_S = 600.0


@dataclass(frozen=True)
class Peer:
    """An outside command."""

    name: str
    words: tuple[str, ...]

    @staticmethod
    def parse(text: str) -> Peer:
        """From NAME=COMMAND. ValueError for anything else."""
        name, _, command = text.partition("=")
        words = tuple(shlex.split(command))
        if not name or not words:
            raise ValueError(f"--peer {text!r}: expected NAME=COMMAND")
        return Peer(name, words)

    def rate(self) -> float:
        """Run it and read its figure. RunFailed where it fails or does not end with a positive number."""
        try:
            done = subprocess.run(self.words, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise RunFailed(f"--peer {self.name}: {error}") from error
        if done.returncode != 0:
            last = (done.stderr.strip().splitlines() or ["no message"])[-1]
            raise RunFailed(f"--peer {self.name}: ended with code {done.returncode} ({last})")
        rate = _number((done.stdout.split() or ["nothing"])[-1])
        if rate is None:
            told = (done.stdout.strip().splitlines() or ["nothing"])[-1]
            raise RunFailed(f"--peer {self.name}: printed {told!r} last, expected its rate, a positive number")
        return rate


def _number(word: str) -> float | None:
    """A finite positive number; None for anything else."""
    try:
        value = float(word)
    except ValueError:
        return None
    return value if 0 < value < math.inf else None

"""External commands as peers in a measurement, to compare public code with this project.

`NAME=COMMAND`: the command runs once per repeat without a shell. The last word of its output is its rate in units of
the suite. The command is responsible for timing, warm-up and equal settings."""

from __future__ import annotations

import math
import shlex
import subprocess
from dataclasses import dataclass

from dwm_ray.runs.folder import RunFailed

TIMEOUT_S = 600.0


@dataclass(frozen=True)
class Peer:
    """An external command."""

    name: str
    words: tuple[str, ...]

    @staticmethod
    def parse(text: str) -> Peer:
        """Parse NAME=COMMAND. Raise ValueError for anything else."""
        name, _, command = text.partition("=")
        words = tuple(shlex.split(command))
        if not name or not words:
            raise ValueError(f"--peer {text!r}: expected NAME=COMMAND")
        return Peer(name, words)

    def rate(self) -> float:
        """Run the command and return its rate. Raise RunFailed if it fails or prints no positive number last."""
        try:
            done = subprocess.run(self.words, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise RunFailed(f"--peer {self.name}: {error}") from error
        if done.returncode != 0:
            raise RunFailed(f"--peer {self.name}: ended with code {done.returncode} ({_last_line(done.stderr)})")
        rate = _number((done.stdout.split() or ["nothing"])[-1])
        if rate is None:
            last = _last_line(done.stdout)
            raise RunFailed(f"--peer {self.name}: printed {last!r} last; expected its rate, a positive number")
        return rate


def _last_line(text: str) -> str:
    return (text.strip().splitlines() or ["nothing"])[-1]


def _number(word: str) -> float | None:
    """Return a finite positive number; None for anything else."""
    try:
        value = float(word)
    except ValueError:
        return None
    return value if 0 < value < math.inf else None

"""Options that all suites share, and which of them a suite has no use for."""

from __future__ import annotations

import time
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Literal

import torch
import tyro

from dwm_ray.benchmarks.measure import Clock


@dataclass(frozen=True)
class Options:
    """How to measure, the same for all suites."""

    device: Literal["cpu", "cuda"] = "cpu"
    """What to measure on."""
    threads: int = 1
    """Threads of torch on the CPU."""
    repeats: int = 7
    """How often everything is timed, in turns."""
    burst_s: float = 0.5
    """Seconds of one timing of one thing, about."""
    clock: Clock = "wall"
    """wall is what a run waits for; cpu counts only the seconds that this process has a core, which is steadier where
    others use the machine too. Peers time themselves."""
    only: str = ""
    """Time only what has this text in its name, and the references of that."""
    peer: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """NAME=COMMAND: an outside command that prints its rate as the last word; may be repeated."""
    task: str = "halfcheetah-medium-replay"
    """Whose data and sizes."""
    data: str | None = None
    """A file of data, as in training."""
    output: Path | None = None
    """JSON file to write; runs/benchmark/SUITE-TIME.json if not given."""
    markdown: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Print the table as Markdown."""

    def check(self) -> None:
        """ValueError for options that this machine or a table has no use for."""
        if self.device == "cuda" and not torch.cuda.is_available():
            raise ValueError("--device cuda: torch sees no GPU here")
        if self.threads < 1 or self.repeats < 1 or self.burst_s <= 0:
            raise ValueError("--threads, --repeats and --burst-s: expected positive numbers")
        if self.clock == "cpu" and (self.device != "cpu" or self.threads != 1):
            raise ValueError("--clock cpu: counts one thread of the processor; expected --device cpu and --threads 1")

    def refuse_others(self, used: tuple[str, ...], why: str) -> None:
        """ValueError for options that were given and would not be read."""
        others = [field.name for field in fields(Options) if field.name not in used]
        if given := [name for name in others if getattr(self, name) != getattr(Options(), name)]:
            raise ValueError(f"--{given[0].replace('_', '-')}: {why}")

    def path(self, suite: str) -> Path:
        """Of the JSON file."""
        return self.output or Path("runs/benchmark") / f"{suite}-{time.strftime('%Y%m%d-%H%M%S')}.json"

    def data_words(self) -> tuple[str, ...]:
        """Task and data as words for another program."""
        return ("--task", self.task, *(("--data", str(Path(self.data).resolve())) if self.data else ()))

"""Options that all suites share, and their validation."""

import time
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Literal

import torch
import tyro

from dwm_ray.benchmarks.measure import Clock

SHOWN = ("output", "markdown")
WITH_DATA = (*SHOWN, "task", "data")


@dataclass(frozen=True)
class Options:
    """Options of a measurement, the same for all suites."""

    device: Literal["cpu", "cuda"] | None = None
    """Device to measure on. The default is cpu, for the suite gpu it is cuda."""
    threads: int = 1
    """Threads of torch on the CPU."""
    repeats: int = 7
    """Timings of each workload, alternating between workloads."""
    burst_s: float = 0.5
    """Approximate seconds of one timing of one workload."""
    limit_s: float | None = None
    """Seconds after which no further workload is prepared; the remaining ones are listed as not measured."""
    clock: Clock = "wall"
    """wall is the elapsed time. cpu counts only the seconds in which this process has a core; choose it if
    other programs use the machine. Peers time themselves."""
    only: str = ""
    """Time only workloads whose names contain this text, and their baselines."""
    peer: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """NAME=COMMAND: an external command that prints its rate as the last word. May be repeated."""
    task: str = "halfcheetah-medium-replay"
    """Task whose data and sizes are used."""
    data: str | None = None
    """Dataset file, as in training."""
    output: Path | None = None
    """JSON file to write; the default is runs/benchmark/SUITE-TIME.json."""
    markdown: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Print the tables as Markdown; the default if the output is not a terminal."""

    def check(self) -> None:
        """Raise ValueError for values that this machine or a table cannot use."""
        if self.threads < 1 or self.repeats < 1 or self.burst_s <= 0:
            raise ValueError("--threads, --repeats and --burst-s: expected positive numbers")
        if self.clock == "cpu" and (self.device == "cuda" or self.threads != 1):
            raise ValueError("--clock cpu: counts one thread of the processor; expected --device cpu and --threads 1")
        expect_device(self.device or "cpu")

    def refuse_others(self, used: tuple[str, ...], reason: str) -> None:
        """Raise ValueError for an option that was given although the suite does not read it."""
        others = [field.name for field in fields(Options) if field.name not in used]
        if given := [name for name in others if getattr(self, name) != getattr(Options(), name)]:
            raise ValueError(f"--{given[0].replace('_', '-')}: {reason}")

    def path(self, suite: str) -> Path:
        """Return the path of the JSON file."""
        return self.output or Path("runs/benchmark") / f"{suite}-{time.strftime('%Y%m%d-%H%M%S')}.json"

    def data_words(self) -> tuple[str, ...]:
        """Return task and data as command-line words for another program."""
        return ("--task", self.task, *(("--data", str(Path(self.data).resolve())) if self.data else ()))


def expect_device(device: str) -> None:
    """Raise ValueError if the device is not available."""
    if device == "cuda" and not torch.cuda.is_available():
        raise ValueError("--device cuda: torch sees no GPU here; expected a GPU or --device cpu")

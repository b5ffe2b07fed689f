"""Options that several suites share; a suite inherits those that it reads."""

import time
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Literal

import torch
import tyro

from dwm_ray.benchmarks.measure import Clock

Device = Literal["cpu", "cuda"]
OPTIONAL = tyro.conf.arg(help_behavior_hint="")
"""Marker of an option whose default, None, is not printed."""


@dataclass(frozen=True)
class Suite(ABC):
    """A subcommand of `pipelines/benchmark.py`, and the options of its output."""

    name: ClassVar[str]

    output: Annotated[Path | None, OPTIONAL] = None
    """JSON file to write; the default is runs/benchmark/SUITE-TIME.json."""

    @abstractmethod
    def run(self, programs: Path) -> None:
        """Measure, write JSON and print tables; `programs` is the folder of the pipelines."""

    @property
    def path(self) -> Path:
        """Path of the JSON file."""
        return self.output or Path("runs/benchmark") / f"{self.name}-{time.strftime('%Y%m%d-%H%M%S')}.json"


@dataclass(frozen=True)
class TaskSuite(Suite):
    """A suite that uses the data of a task."""

    task: str = "halfcheetah-medium-replay"
    """Task whose data and sizes are used."""
    data: Annotated[str | None, OPTIONAL] = None
    """Dataset file, as in training."""

    def data_args(self) -> tuple[str, ...]:
        """Return task and data as command-line arguments for another program."""
        return ("--task", self.task, *(("--data", str(Path(self.data).resolve())) if self.data else ()))


@dataclass(frozen=True)
class TimedSuite(TaskSuite):
    """A suite that times workloads on a device."""

    device: Device = "cpu"
    """Device to measure on."""
    repeats: int = 7
    """Timings of each workload, alternating between workloads."""
    burst_s: float = 0.5
    """Approximate seconds of one timing of one workload."""
    limit_s: Annotated[float | None, OPTIONAL] = None
    """Seconds after which no more workloads are prepared; the remaining ones are listed as not measured."""
    clock: Clock = "wall"
    """wall is the elapsed time. cpu counts only the seconds in which this process has a core; choose it if
    other programs use the machine. Peers time themselves."""
    only: str = ""
    """Time only workloads whose names contain this text, and their baselines."""
    peer: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """NAME=COMMAND: an external command that prints its rate as the last word. May be repeated."""

    def check(self) -> None:
        """Raise ValueError for values that this machine or a table cannot use."""
        if self.repeats < 1 or self.burst_s <= 0:
            raise ValueError("--repeats and --burst-s: expected positive numbers")
        if self.clock == "cpu" and self.device == "cuda":
            raise ValueError("--clock cpu: does not count the time of a GPU; expected wall")
        expect_device(self.device)


def expect_device(device: Device) -> None:
    """Raise ValueError if the device is not available."""
    if device == "cuda" and not torch.cuda.is_available():
        raise ValueError("--device cuda: torch sees no GPU here; expected a GPU or --device cpu")

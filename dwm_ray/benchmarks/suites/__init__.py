"""What can be timed, one file a suite: its options, and its pieces of work with what each is set against."""

from __future__ import annotations

from typing import ClassVar, Protocol

from dwm_ray.benchmarks.measure import Work
from dwm_ray.benchmarks.workloads import Workbench


class Suite(Protocol):
    """A dataclass of options."""

    name: ClassVar[str]
    unit: ClassVar[str]
    """What is counted per second."""

    def work(self, bench: Workbench) -> list[Work]:
        """What is timed; a reference stands before what is set against it. ValueError for options that do not fit."""

"""Outcome of one fault: a row of the table."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

HEADERS = ("fault", "behaviour", "gap", "lost", "rows exact", "left behind", "as expected")


@dataclass(frozen=True)
class Outcome:
    """Outcome of a fault that was provoked."""

    fault: str
    behaviour: str
    """What continued, or how the sweep ended."""
    gap_s: float | None
    """Seconds until the affected part continued; None if nothing was interrupted."""
    lost: str
    exact: bool | None
    """Whether every row is accounted for; None without generated rows."""
    left: tuple[str, ...]
    """Actors, placement groups and processes that remained and should not."""
    expected: bool
    """Whether the behaviour agrees with the documentation."""

    def cells(self) -> list[str]:
        """Return the cells of the table row."""
        words = {True: "yes", False: "NO", None: "–"}
        gap = "–" if self.gap_s is None else f"{self.gap_s:.1f} s"
        left = ", ".join(self.left) or "nothing"
        return [self.fault, self.behaviour, gap, self.lost, words[self.exact], left, words[self.expected]]

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class NotRun:
    """A fault that cannot be provoked on this machine."""

    fault: str
    why: str

    def cells(self) -> list[str]:
        """Return the cells of the table row."""
        return [self.fault, f"not run here: {self.why}", "–", "–", "–", "–", "–"]

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

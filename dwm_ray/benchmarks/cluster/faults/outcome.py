"""Outcome of one fault: a row of the table."""

from __future__ import annotations

from dataclasses import dataclass

HEADERS = ("fault", "behaviour", "gap", "lost", "rows exact", "left behind", "as expected")
WORDS = {True: "yes", False: "NO", None: "–"}


@dataclass(frozen=True)
class Outcome:
    """Outcome of a fault."""

    fault: str
    behaviour: str
    """Part that continued, or the end of the sweep."""
    gap_s: float | None = None
    """Seconds until the affected part continued; None if nothing was interrupted."""
    lost: str = "–"
    exact: bool | None = None
    """Whether every row is accounted for; None without generated rows."""
    left: tuple[str, ...] = ()
    """Actors, placement groups and processes that remained and should not."""
    expected: bool | None = False
    """Whether the behaviour agrees with the documentation; None if the fault was not provoked."""

    @staticmethod
    def not_run(fault: str, reason: str) -> Outcome:
        """Return the row of a fault that cannot be provoked on this machine."""
        return Outcome(fault, f"not run here: {reason}", expected=None)

    def cells(self) -> list[str]:
        """Return the cells of the table row."""
        gap = "–" if self.gap_s is None else f"{self.gap_s:.1f} s"
        left = "–" if self.expected is None else ", ".join(self.left) or "nothing"
        return [self.fault, self.behaviour, gap, self.lost, WORDS[self.exact], left, WORDS[self.expected]]

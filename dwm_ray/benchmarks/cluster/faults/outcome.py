"""What became of one fault: a line of the table."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

HEADERS = ("fault", "what happened", "gap", "lost", "rows exact", "left behind", "as expected")


@dataclass(frozen=True)
class Outcome:
    """One fault that was provoked."""

    fault: str
    survived: str
    """What went on, or how it ended."""
    gap_s: float | None
    """Seconds until what had stopped went on; None where nothing had to."""
    lost: str
    exact: bool | None
    """Is every row accounted for? None where no rows are imagined."""
    left: tuple[str, ...]
    """Actors, placement groups and processes that were there afterwards and should not be."""
    expected: bool
    """Was it as the documentation says?"""

    def cells(self) -> list[str]:
        """For a table."""
        words = {True: "yes", False: "NO", None: "–"}
        gap = "–" if self.gap_s is None else f"{self.gap_s:.1f} s"
        left = ", ".join(self.left) or "nothing"
        return [self.fault, self.survived, gap, self.lost, words[self.exact], left, words[self.expected]]

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class NotRun:
    """A fault that cannot be provoked here."""

    fault: str
    why: str

    def cells(self) -> list[str]:
        """For a table."""
        return [self.fault, f"not run here: {self.why}", "–", "–", "–", "–", "–"]

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def markdown_table(lines: list[Outcome | NotRun]) -> str:
    """For a terminal and for a document."""
    rows = [list(HEADERS), ["---"] * len(HEADERS), *(line.cells() for line in lines)]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)

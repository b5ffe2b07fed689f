"""Tables of results for terminals, Markdown and HTML pages."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from rich import box
from rich.table import Table as RichTable

NOTHING = "–"
Cell = str | float | int | None
MAX_NAME = 24
"""Number of characters of the first column that are always shown in a terminal."""
STYLES = {"best": "bold green", "failed": "dim", "stopped": "dim", "running": "dim", "pending": "dim"}
"""Terminal style of a marked row."""


@dataclass(frozen=True)
class Table:
    """Rows of cells below headers. Numbers are rounded; None becomes a dash."""

    title: str
    headers: list[str]
    rows: list[list[Cell]]
    note: str = ""
    marks: tuple[str, ...] = ()
    """Status of each row, such as 'best' or 'failed', which determines its style; empty for a uniform style."""

    def texts(self) -> list[list[str]]:
        return [[text(cell) for cell in row] for row in self.rows]

    def mark(self, row: int) -> str:
        return self.marks[row] if self.marks else ""

    def left_aligned(self) -> list[bool]:
        """Return one flag per column: True for the first column and for columns with text."""
        texts = self.texts()
        return [i == 0 or any(row[i][:1].isalpha() for row in texts) for i in range(len(self.headers))]

    def markdown(self) -> str:
        return markdown_table(self.headers, self.texts())

    def terminal(self) -> RichTable:
        """Return the table for a terminal, with a star next to the best row."""
        starred = "best" in self.marks
        table = RichTable(title=self.title, caption=self.note, box=box.SIMPLE_HEAD, padding=0)
        table.title_justify = table.caption_justify = "left"
        if starred:
            table.add_column("")
        texts = self.texts()
        longest = max((len(row[0]) for row in texts), default=0)  # names are not wrapped; other columns are
        for i, (header, left) in enumerate(zip(self.headers, self.left_aligned(), strict=True)):
            width = min(longest, MAX_NAME) if i == 0 else None
            side: Literal["left", "right"] = "left" if left else "right"
            table.add_column(header.replace(" ", "\n", 1), justify=side, no_wrap=not left, min_width=width)
        for i, cells in enumerate(texts):
            star = ["*" if self.mark(i) == "best" else ""] if starred else []
            table.add_row(*star, *cells, style=STYLES.get(self.mark(i)))
        return table


def markdown_table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table."""
    lines = [headers, ["---"] * len(headers), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def text(cell: Cell) -> str:
    """Return a cell as text: three decimals below 10, one below 1000, then groups of three digits."""
    if cell is None:
        return NOTHING
    if isinstance(cell, str):
        return cell
    if isinstance(cell, int) or abs(cell) >= 1000:
        return format_count(round(cell))
    return f"{cell:.3f}" if abs(cell) < 10 else f"{cell:.1f}"


def format_score(mean: float | None, std: float | None) -> str:
    """Return '36.1 ± 2.0', or a dash without a score."""
    return NOTHING if mean is None else f"{mean:.1f} ± {std or 0.0:.1f}"


def format_count(count: int | None) -> str:
    """Return '500 000', with thin no-break spaces."""
    return NOTHING if count is None else f"{count:,}".replace(",", "\u202f")


def format_seconds(seconds: float | None) -> str:
    """Return '42 s', '12 min' or '3.5 h'."""
    if seconds is None:
        return NOTHING
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"

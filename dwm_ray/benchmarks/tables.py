"""Tables of benchmark results for terminals and Markdown documents."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich import box
from rich.console import Console
from rich.table import Table


@dataclass(frozen=True)
class ResultTable:
    """A title, headers and rows of formatted cells."""

    title: str
    headers: Sequence[str]
    rows: Sequence[Sequence[str]]

    def show(self, as_markdown: bool) -> None:
        """Print the table to the standard output."""
        if as_markdown:
            print(self.markdown())
            return
        table = Table(title=self.title, title_justify="left", box=box.SIMPLE_HEAD)
        for header in self.headers:
            table.add_column(header, overflow="fold")
        for row in self.rows:
            table.add_row(*row)
        Console().print(table)

    def markdown(self) -> str:
        lines = [self.headers, ["---"] * len(self.headers), *self.rows]
        return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def number(value: float) -> str:
    """Format a number with three significant digits."""
    return f"{value:.3g}" if value < 1000 else f"{value:,.0f}".replace(",", " ")

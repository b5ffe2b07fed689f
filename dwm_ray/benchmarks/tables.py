"""Output of benchmark tables."""

from __future__ import annotations

import sys

from rich.console import Console

from dwm_ray.report.table import Table


def show(table: Table, as_markdown: bool) -> None:
    """Print a table for a terminal, or as Markdown if asked for or if the output is not a terminal."""
    if as_markdown or not sys.stdout.isatty():
        print(table.markdown())
    else:
        Console().print(table.terminal())


def number(value: float) -> str:
    """Format a number with three significant digits."""
    return f"{value:.3g}" if value < 1000 else f"{value:,.0f}".replace(",", " ")

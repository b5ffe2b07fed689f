"""What a study found: tables, figures and raw numbers, for a terminal, as JSON and as one HTML page."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from rich import box
from rich.console import Console
from rich.table import Table as RichTable

from dwm_ray.report.style import Figure
from dwm_ray.report.table import NOTHING
from dwm_ray.runs.tensor_files import write_json

Cell = str | float | int | None


@dataclass(frozen=True)
class Table:
    """Rows of cells below headers; numbers are shortened, None is a dash."""

    title: str
    headers: list[str]
    rows: list[list[Cell]]
    note: str = ""

    def texts(self) -> list[list[str]]:
        return [[text(cell) for cell in row] for row in self.rows]

    def markdown(self) -> str:
        """The table as it goes into a README."""
        lines = [self.headers, ["---"] * len(self.headers), *self.texts()]
        return "\n".join("| " + " | ".join(line) + " |" for line in lines)


@dataclass(frozen=True)
class Findings:
    """The outcome of a study."""

    title: str
    summary: list[str]
    """What was measured with what: sentences."""
    tables: list[Table]
    figures: list[Figure]
    numbers: dict[str, Any] = field(default_factory=dict)
    """Everything behind tables and figures, for JSON."""


def text(cell: Cell) -> str:
    """A cell as it is printed."""
    if cell is None:
        return NOTHING
    if isinstance(cell, str):
        return cell
    if isinstance(cell, int) or abs(cell) >= 1000:
        return f"{cell:,.0f}".replace(",", "\u202f")
    return f"{cell:.3f}" if abs(cell) < 10 else f"{cell:.1f}"


def show(console: Console, findings: Findings) -> None:
    """Print the tables."""
    for table in findings.tables:
        shown = RichTable(title=table.title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
        for i, header in enumerate(table.headers):
            words = any(isinstance(row[i], str) for row in table.rows)
            shown.add_column(header, justify="left" if words else "right", no_wrap=not words)
        for row in table.texts():
            shown.add_row(*row)
        console.print(shown)
        if table.note:
            console.print(table.note, highlight=False)


def write(folder: Path, findings: Findings, facts: dict[str, Any]) -> Path:
    """Write `study.json`, `NAME.svg` of each figure and `report.html`; returns the page. `facts` tell what was run on
    what: they go into the JSON and onto the page."""
    tables = [{"title": t.title, "headers": t.headers, "rows": t.rows} for t in findings.tables]
    write_json(folder / "study.json", {**facts, "summary": findings.summary, "tables": tables, **findings.numbers})
    for figure in findings.figures:
        (folder / f"{figure.name}.svg").write_text(figure.svg)
    page = folder / "report.html"
    page.write_text(render(findings, facts))
    return page


def render(findings: Findings, facts: dict[str, Any]) -> str:
    """The page, as HTML that needs no other file."""
    environment = Environment(
        loader=PackageLoader("dwm_ray.report", ""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["svg"] = Markup
    template = environment.get_template("findings.html.j2")
    return template.render(findings=findings, facts_text=json.dumps(facts, indent=2, default=str))

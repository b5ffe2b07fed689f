"""Findings of a study: tables, figures and raw numbers, shown in a terminal, as JSON and as one HTML page."""

from dataclasses import dataclass, field
from pathlib import Path

from dwm_ray.report.page import render_page
from dwm_ray.report.panels import Figure
from dwm_ray.report.table import Table
from dwm_ray.runs.files import write_atomically
from dwm_ray.runs.tensor_files import write_json
from dwm_ray.types import Json


@dataclass(frozen=True)
class Findings:
    """Results of a study."""

    title: str
    summary: list[str]
    """Sentences that describe the measurement and its data."""
    tables: list[Table]
    figures: list[Figure]
    numbers: Json = field(default_factory=dict)
    """Raw numbers behind tables and figures, for JSON."""


def write(folder: Path, findings: Findings, facts: Json) -> Path:
    """Write study.json (including `facts`) and report.html; return the path of the page."""
    tables = [{"title": t.title, "headers": t.headers, "rows": t.rows} for t in findings.tables]
    write_json(folder / "study.json", {**facts, "summary": findings.summary, "tables": tables, **findings.numbers})
    page = folder / "report.html"
    write_atomically(page, render(findings, facts))
    return page


def render(findings: Findings, facts: Json) -> str:
    """Return the page as HTML."""
    return render_page("study.html.j2", findings=findings, facts=facts)

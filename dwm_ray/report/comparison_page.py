"""The page of a comparison: one HTML file that needs nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from dwm_ray.report.comparison import collect_comparison
from dwm_ray.report.comparison_figures import draw_comparison
from dwm_ray.report.comparison_table import cost_cells, failures, notes, score_cells, source
from dwm_ray.runs.tensor_files import write_json

Json = dict[str, Any]


def write_comparison(root: Path) -> Json:
    """Collect what lies in `root`, write comparison.json and comparison.html there and return what was collected."""
    comparison = collect_comparison(root)
    write_json(root / "comparison.json", comparison)
    (root / "comparison.html").write_text(render_comparison(comparison))
    return comparison


def render_comparison(comparison: Json) -> str:
    """The page of a collected comparison, as HTML."""
    environment = Environment(
        loader=PackageLoader("dwm_ray.report", ""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["svg"] = Markup
    tasks = [
        {**task, "scores": score_cells(task["methods"]), "costs": cost_cells(task["methods"]), "source": source(task)}
        for task in comparison["tasks"]
    ]
    return environment.get_template("comparison.html.j2").render(
        comparison=comparison,
        tasks=tasks,
        all_tasks=score_cells(comparison["all_tasks"]),
        notes=notes(comparison),
        failures=failures(comparison),
        figures=draw_comparison(comparison),
    )

"""The report of a comparison: comparison.json and one HTML page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dwm_ray.report.comparison import collect_comparison
from dwm_ray.report.comparison_figures import comparison_figures
from dwm_ray.report.comparison_tables import failures, notes, run_table, score_table, source, task_tables
from dwm_ray.report.page import render_page
from dwm_ray.runs.tensor_files import write_json

Json = dict[str, Any]


def write_comparison(root: Path) -> Json:
    """Collect the runs in `root`, write comparison.json and comparison.html there and return the collected results."""
    comparison = collect_comparison(root)
    write_json(root / "comparison.json", comparison)
    (root / "comparison.html").write_text(render_comparison(comparison))
    return comparison


def render_comparison(comparison: Json) -> str:
    """Return the page of a collected comparison as HTML."""
    tasks = [
        {"task": task["task"], "source": source(task), "tables": task_tables(task), "runs": run_table(task)}
        for task in comparison["tasks"]
    ]
    return render_page(
        "comparison.html.j2",
        comparison=comparison,
        title=", ".join(task["task"] for task in comparison["tasks"]),
        tasks=tasks,
        all_tasks=score_table("Statistics over the runs of all tasks", comparison["all_tasks"]),
        notes=notes(comparison),
        failures=failures(comparison),
        figures=comparison_figures(comparison),
        environment=comparison["tasks"][0]["environment"],
    )

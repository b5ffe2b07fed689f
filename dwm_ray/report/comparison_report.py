"""The report of a comparison: comparison.json and one HTML page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dwm_ray.report.comparison import collect_comparison
from dwm_ray.report.comparison_figures import comparison_figures
from dwm_ray.report.comparison_tables import cost_table, failures, notes, run_table, source, task_scores
from dwm_ray.report.page import render_page
from dwm_ray.report.ranking import ranked, score_table, verdict
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
        {
            "task": task["task"],
            "unit": task["score_unit"],
            "source": source(task),
            "page": f"{task['run']}/report.html",
            "verdict": verdict(task["methods"], comparison["reference"]),
            "scores": task_scores(task),
            "costs": cost_table(f"{task['task']}: cost per run on this machine", task["methods"]),
            "runs": run_table(task),
        }
        for task in comparison["tasks"]
    ]
    return render_page(
        "comparison.html.j2",
        comparison=comparison,
        title=", ".join(task["task"] for task in comparison["tasks"]),
        tasks=tasks,
        all_tasks=score_table("Statistics over the runs of all tasks", ranked(comparison["all_tasks"])),
        notes=notes(comparison),
        failures=failures(comparison),
        figures={figure.name: figure for figure in comparison_figures(comparison)},
        environment=comparison["tasks"][0]["environment"],
    )

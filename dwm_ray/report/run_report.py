"""The report of a run: one HTML page, rebuilt from the run folder at any time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dwm_ray.report.calibration import calibrated_models, calibration_table
from dwm_ray.report.collect import collect_results
from dwm_ray.report.page import render_page
from dwm_ray.report.run_figures import run_figures
from dwm_ray.report.run_tables import (
    error_table,
    failures,
    headline,
    refresh_table,
    sharing_facts,
    summary_table,
    trial_table,
)
from dwm_ray.report.style import Looks


def write_report(run: Path, out: Path | None = None) -> Path:
    """Write the page to `out` (default RUN/report.html) and return its path; raise ValueError for other folders."""
    out = run / "report.html" if out is None else out
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(render(collect_results(run)))
    return out


def render(results: dict[str, Any]) -> str:
    """Return the page of collected results as HTML."""
    trials, summary = trial_table(results), summary_table(results)
    return render_page(
        "run.html.j2",
        results=results,
        headline=headline(results),
        trials=trials,
        summary=summary if 0 < len(summary.rows) < len(trials.rows) else None,
        failures=failures(results),
        figures=run_figures(results),
        errors=error_table(results),
        calibration=calibration_table(calibrated_models(results, Looks(results["trials"], results["world_models"]))),
        refresh=refresh_table(results),
        sharing=sharing_facts(results),
    )

"""The report of a run: one HTML page, rebuilt from the run folder at any time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dwm_ray.report.calibration import calibrated_models, calibration_table
from dwm_ray.report.collect import collect_results
from dwm_ray.report.estimates import estimate_table
from dwm_ray.report.frames import best_frames
from dwm_ray.report.page import render_page
from dwm_ray.report.panels import Looks
from dwm_ray.report.ranking import method_rows, ranked, score_table, verdict
from dwm_ray.report.run_facts import data_facts, key_facts, sharing_facts
from dwm_ray.report.run_figures import run_figures
from dwm_ray.report.run_tables import error_table, failures, refresh_table, summary_table, trial_table
from dwm_ray.report.table import Table

RANKING_NOTE = (
    "Names are world model and agent; Recorded: recorded futures instead of imagined ones; an agent alone has no world "
    "model. Each method has its best setting; of: settings that were tried. The setting was selected by the scores "
    "that are shown, so scores of methods with many settings are optimistic. IQM: interquartile mean over runs. "
    "P(better): probability that a run scores higher than one of the same agent without a world model."
)


def write_report(run: Path, out: Path | None = None) -> Path:
    """Write the page to `out` (default RUN/report.html) and return its path; raise ValueError for other folders."""
    out = run / "report.html" if out is None else out
    out.parent.mkdir(parents=True, exist_ok=True)
    results = collect_results(run)
    out.write_text(render(results, best_frames(run, results)))
    return out


def ranking_table(results: dict[str, Any]) -> Table:
    """Return the methods of a run in the order of their scores, with intervals over seeds."""
    rows = ranked(method_rows(results))
    return score_table(f"{results['score_unit']} of the last checkpoint, by method", rows, RANKING_NOTE)


def render(results: dict[str, Any], frames: dict[str, Any] | None = None) -> str:
    """Return the page of collected results, and of frames of the best policy, as HTML."""
    trials, summary, rows = trial_table(results), summary_table(results), ranked(method_rows(results))
    return render_page(
        "run.html.j2",
        results=results,
        data=data_facts(results["data"]),
        frames=frames,
        verdict=verdict(rows),
        facts=key_facts(results),
        ranking=ranking_table(results),
        trials=trials,
        summary=summary if 0 < len(summary.rows) < len(trials.rows) else None,
        failures=failures(results),
        figures=run_figures(results),
        estimates=estimate_table(results),
        errors=error_table(results),
        calibration=calibration_table(calibrated_models(results, Looks(results["trials"], results["world_models"]))),
        refresh=refresh_table(results),
        sharing=sharing_facts(results),
    )

"""The report of a run: one HTML file that needs nothing else, made anew from the run folder at any time."""

from __future__ import annotations

import json
from pathlib import Path
from statistics import mean, pstdev
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from dwm_ray.experiment.names import world_model_label
from dwm_ray.report.collect import collect_results
from dwm_ray.report.figures import draw_figures
from dwm_ray.report.loops import HEADERS, loop_rows
from dwm_ray.report.sharing import sharing
from dwm_ray.report.table import format_count, format_score, format_seconds, label, result_rows

Json = dict[str, Any]


def write_report(run: Path, out: Path | None = None) -> Path:
    """Write the page to `out` (default RUN/report.html) and return its path. ValueError where `run` is no run."""
    out = run / "report.html" if out is None else out
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(render(collect_results(run)))
    return out


def render(results: Json) -> str:
    """The page of collected results, as HTML."""
    loader = PackageLoader("dwm_ray.report", "")
    environment = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"count": format_count, "seconds": format_seconds, "svg": Markup, "label": label}
    headers, rows = result_rows(results)
    return environment.get_template("template.html.j2").render(
        results=results,
        headline=headline(results),
        headers=headers,
        rows=rows,
        figures=draw_figures(results),
        errors=_error_rows(results["world_models"]),
        sharing=sharing(results),
        loop_headers=HEADERS,
        loops=loop_rows(results),
        config_text=json.dumps(results["config"], indent=2),
    )


def headline(results: Json) -> Json | None:
    """The best trial, its setting over all seeds, and the model-free trials of its agent; None without a score."""
    best = results["best"]
    if best is None:
        return None
    scored = [trial for trial in results["trials"] if trial["score_mean"] is not None]
    same_agent = [trial for trial in scored if trial["agent"] == best["agent"]]
    setting = [t for t in same_agent if t["world_model"] == best["world_model"] and t["values"] == best["values"]]
    free = [trial for trial in same_agent if trial["world_model"] is None]
    return {
        "best": best,
        "values": ", ".join(f"{label(name)} {value}" for name, value in best["values"].items()),
        "score": format_score(best["score_mean"], best["score_std"]),
        "num_scored": len(scored),
        "setting": _over_seeds(setting),
        "model_free": _over_seeds(free) if free and best["world_model"] is not None else None,
    }


def _over_seeds(trials: list[Json]) -> Json:
    """Mean and deviation between trials of their mean scores."""
    scores = [trial["score_mean"] for trial in trials]
    return {"method": trials[0]["method"], "num": len(scores), "score": format_score(mean(scores), pstdev(scores))}


def _error_rows(models: list[Json]) -> list[Json]:
    """Typical (RMS) errors of each world model at its first and last step, for the table under the figure."""
    return [
        {
            "name": world_model_label(model["name"]),
            "driven_by": model["error"]["driven_by"],
            **{f"{what}_{i}": f"{model['error'][f'{what}_rms'][i]:.3f}" for what in ("obs", "rew") for i in (0, -1)},
        }
        for model in models
        if model["error"]
    ]

"""Ranking of methods with intervals and probabilities of improvement, and its description in words.

Statistics are over runs of different seeds (`evaluation.stats`); a run's score is its mean over episodes at its last
checkpoint.
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from dwm_ray.evaluation import stats
from dwm_ray.report.chart import Line, Panel, Style
from dwm_ray.report.collect import measured, measured_curve
from dwm_ray.report.panels import Figure, plot_panels
from dwm_ray.report.run_tables import format_interval, label
from dwm_ray.report.table import NOTHING, Cell, Table
from dwm_ray.types import Json

COVERAGE = {2: 50, 3: 75, 4: 80, 5: 85, 10: 90, 20: 93}
"""Number of runs -> actual coverage of a nominal 95 % interval in percent (`evaluation.stats`)."""
CURVES = (
    "Means over finished runs; bands reach from the lowest to the highest run. All points except the last are averages "
    "over few episodes."
)
CONFIDENCE = 0.95
"""Probability of improvement above which methods are separated if the interval also excludes 0.5."""


def scores(method: Json) -> np.ndarray:
    """Return the scores [runs] of a method's finished runs on a task."""
    return np.array([run["score"] for run in method["runs"] if run["score"] is not None], np.float64)


def with_statistics(
    rows: list[list[Json]], pooled: bool = True, references: Sequence[int | None] | None = None
) -> list[Json]:
    """Return the first row of each method with statistics over its runs.

    Args:
        rows: One list per method, with one row per task.
        pooled: Whether the scores of all tasks have the same unit; otherwise there are no means.
        references: Index of the method that each method is compared with; default: the first one.
    """
    all_scores = [[scores(task) for task in tasks] for tasks in rows]
    indices = [0] * len(rows) if references is None else references
    return [
        {
            **tasks[0],
            "num_runs": sum(map(len, method_scores)),
            **_statistics(method_scores, None if reference in (i, None) else all_scores[reference or 0], pooled),
        }
        for i, (tasks, method_scores, reference) in enumerate(zip(rows, all_scores, indices, strict=True))
    ]


def _statistics(method_scores: stats.Scores, reference: stats.Scores | None, pooled: bool) -> Json:
    complete = all(map(len, method_scores))
    compared = complete and reference is not None and all(map(len, reference))
    return {
        "mean": stats.estimate(stats.mean, method_scores) if complete and pooled else None,
        "iqm": stats.estimate(stats.iqm, method_scores) if complete and pooled else None,
        "improvement": stats.estimate(stats.improvement, method_scores, reference) if compared and reference else None,
    }


def method_rows(results: Json) -> list[Json]:
    """Return one row per method of a run, best first: the setting with the highest mean score, and its statistics.

    The reference of a method is its agent without a world model. A method without a finished trial has no statistics.
    """
    settings: dict[str, dict[str, list[Json]]] = {}
    for trial in results["trials"]:
        if trial["curve"]["update"]:
            setting = ", ".join(f"{label(name)} {value}" for name, value in trial["values"].items())
            settings.setdefault(trial["method"], {}).setdefault(setting, []).append(trial)
    rows = [_best_setting(method, by_setting) for method, by_setting in settings.items()]
    model_free = {row["agent"]: i for i, row in enumerate(rows) if row["world_model"] is None}
    return ranked(with_statistics([[row] for row in rows], references=[model_free.get(row["agent"]) for row in rows]))


def _best_setting(method: str, settings: Mapping[str, list[Json]]) -> Json:
    setting = max(settings, key=lambda name: _level(settings[name]))
    trials = settings[setting]
    runs = [{"seed": trial["seed"], "score": _final(trial), "curve": trial["curve"]} for trial in trials]
    shared = {key: trials[0][key] for key in ("agent", "world_model")}
    return {"name": method, "setting": setting, "num_settings": len(settings), "runs": runs, **shared}


def _final(trial: Json) -> float | None:
    return measured(trial) if trial["status"] == "done" else None


def _level(trials: Sequence[Json]) -> tuple[bool, float]:
    """Return (whether a trial has finished, mean score); if none has, use the latest points of their curves."""
    final = [score for trial in trials if (score := _final(trial)) is not None]
    latest = [value for trial in trials if (value := measured_curve(trial["curve"])[-1]) is not None]
    return bool(final), float(np.mean(final or latest))


def shared_scores(runs: Sequence[Json]) -> tuple[np.ndarray, np.ndarray]:
    """Return (updates [U], scores [runs, U]) at the updates where all runs were evaluated."""
    curves = [pd.Series(measured_curve(run["curve"]), run["curve"]["update"], np.float64) for run in runs]
    shared = pd.concat(curves, axis=1, join="inner").sort_index() if curves else pd.DataFrame()
    return shared.index.to_numpy(), shared.to_numpy().T


def curve(method: Json, style: Style) -> Line:
    """Return mean and range of the learning curves of a method's finished runs, or of all runs if none has finished."""
    updates, curves = shared_scores([run for run in method["runs"] if run["score"] is not None] or method["runs"])
    if not updates.size:
        return Line(method["name"], [], [], style=style)
    band = (curves.min(0).tolist(), curves.max(0).tolist()) if len(curves) > 1 else None
    return Line(method["name"], updates.tolist(), curves.mean(0).tolist(), style=style, band=band)


def ranked(rows: Sequence[Json]) -> list[Json]:
    """Return the rows sorted by interquartile mean, highest first; rows without one are last."""
    return sorted(rows, key=lambda row: (row["iqm"] is None, -(row["iqm"] or {"value": 0.0})["value"]))


def score_table(title: str, rows: Sequence[Json], note: str = "") -> Table:
    """Return runs, mean, interquartile mean and probability of improvement of each method, with intervals."""
    settings = any(row.get("setting") for row in rows)
    headers = ["method", "runs", "mean", "IQM", "95\u00a0% interval", "P(better)", "95\u00a0% interval"]
    headers += ["setting", "of"] if settings else []
    cells: list[list[Cell]] = [
        [
            row["name"],
            row["num_runs"],
            interval(row["mean"], 1)[0],
            *interval(row["iqm"], 1),
            *interval(row["improvement"], 2),
            *([row["setting"] or NOTHING, row["num_settings"]] if settings else []),
        ]
        for row in rows
    ]
    return Table(title, headers, cells, note)


def interval(statistic: Json | None, digits: int) -> tuple[str, str]:
    """Return a statistic and its interval: '36.1', '[33.0, 38.2]'."""
    if statistic is None:
        return NOTHING, NOTHING
    return f"{statistic['value']:.{digits}f}", format_interval(statistic["low"], statistic["high"], digits)


def verdict(rows: Sequence[Json], reference: str = "") -> Json | None:
    """Return the method with the highest interquartile mean, and its lead over the runner-up and its reference.

    `reference` names the reference of all methods; default: the best method's agent without a world model. The result
    is None if no method has a score.
    """
    scored = [row for row in ranked(rows) if row["iqm"]]
    if not scored:
        return None
    best, *remaining = scored
    score, ends = interval(best["iqm"], 1)
    leads = [_lead(best, row, "the runner-up") for row in remaining[:1]]
    if not reference:
        model_free = [row["name"] for row in remaining if row["world_model"] is None and row["agent"] == best["agent"]]
        reference = model_free[0] if model_free else ""
    leads += [_lead(best, row, "the reference") for row in remaining[1:] if row["name"] == reference]
    count = f", best of {best['num_settings']} settings" if best.get("num_settings", 1) > 1 else ""
    statistic = "mean" if best["num_runs"] < 4 else "interquartile mean"
    words = {"statistic": statistic, "setting": best.get("setting", "") + count, "caution": _caution(best["num_runs"])}
    return {"best": best, "score": score, "interval": ends, "leads": leads, **words}


def _lead(best: Json, other: Json, role: str) -> Json:
    """Return the difference and the probability of improvement of the best method over another, and a caveat.

    There are too few runs if equal methods would be completely separated with a probability above 1 - `CONFIDENCE`.
    """
    difference = best["iqm"]["value"] - other["iqm"]["value"]
    improvement = stats.estimate(stats.improvement, [scores(best)], [scores(other)])
    probability, ends = interval(improvement, 2)
    enough = 1 / math.comb(best["num_runs"] + other["num_runs"], best["num_runs"]) <= 1 - CONFIDENCE + 1e-9
    separated = improvement["low"] is not None and improvement["value"] >= CONFIDENCE and improvement["low"] > 0.5
    doubt = "" if separated and enough else "not clearly separated" if enough else "too few runs to be sure"
    return {
        "over": f"{role}, {other['name']}",
        "difference": f"{difference:+.1f}",
        "probability": probability,
        "interval": ends,
        "doubt": doubt,
    }


def _caution(num_runs: int) -> str:
    """Return a warning about the intervals of few runs; empty for many runs."""
    if num_runs < 2:
        return "One run per method shows no spread between seeds: repeat with --seeds 5 before you rely on it."
    count = max(count for count in COVERAGE if count <= num_runs)
    if count >= 20:
        return ""
    return f"Intervals of {num_runs} runs are too narrow: they cover the mean in about {COVERAGE[count]} % of cases."


def ranking_figure(groups: Mapping[str, tuple[Sequence[Json], str]], styles: Mapping[str, Style], rival: str) -> Figure:
    """Plot score and probability of improvement of each method, with the best at the top.

    `groups` maps the title of each task to (ranked methods, unit of their scores); `rival` is the printed name of the
    reference.
    """
    panels = []
    for title, (rows, unit) in groups.items():
        names = [row["name"] for row in rows]
        panels.append(Panel(title, unit, "", _rows(rows, "iqm", styles), ynames=names))
        chances = _rows(rows, "improvement", styles)
        even = Line("even chance", [0.5, 0.5], [-0.5, len(rows) - 0.5], reference=True)
        chance_panel = Panel(title, f"P(better than {rival})", "", [*chances, even], ynames=names, xends=(0.0, 1.0))
        panels += [chance_panel] if chances else []
    caption = (
        "Large markers: interquartile means over runs, with 95 % bootstrap intervals (none for a single run). Small "
        f"points: runs. P(better): probability that a run scores higher than a run of {rival}; a tie counts one half."
    )
    return plot_panels("ranking", "Scores and probability of improvement", caption, panels, values=False)


def _rows(rows: Sequence[Json], statistic: str, styles: Mapping[str, Style]) -> list[Line]:
    """Return one marker with its interval per method, on top of the points of its runs."""
    lines = []
    for i, row in enumerate(rows):
        style, estimate = styles[row["name"]], row[statistic]
        if statistic == "iqm" and "runs" in row:
            runs = scores(row).tolist()
            lines.append(Line(row["name"], runs, [i] * len(runs), style=style, connected=False, faint=True))
        if estimate is not None:
            ends = None if estimate["low"] is None else (estimate["low"], estimate["high"])
            lines.append(Line(row["name"], [estimate["value"]], [i], style=style, interval=ends, connected=False))
    return lines

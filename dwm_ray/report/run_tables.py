"""Tables of a run: trials, means over seeds, on-policy refresh, estimates and errors of world models."""

from __future__ import annotations

from typing import Any

import pandas as pd

from dwm_ray.experiment.names import world_model_label
from dwm_ray.report.collect import measured
from dwm_ray.report.estimates import INTERVAL, measured_text, num_episodes
from dwm_ray.report.table import NOTHING, Table, format_score, format_seconds
from dwm_ray.tasks.table import ESTIMATED

Json = dict[str, Any]

SUMMED = ["measured", "score_std", "episodes", "updates", "seconds"]
"""Numbers of a trial in the table of means over seeds."""


def axes_of(trials: list[Json]) -> list[str]:
    """Return the axes that distinguish trials: horizon and target_rtg, then the others in order of appearance."""
    return list(dict.fromkeys(["horizon", "target_rtg", *(name for trial in trials for name in trial["values"])]))


def label(axis: str) -> str:
    """Return the printed name of a searched axis."""
    return "target RTG" if axis == "target_rtg" else axis.replace("_", " ")


def trial_table(results: Json) -> Table:
    """Return one row per trial, best score first, unfinished trials last. Model-free trials have no horizon."""
    axes, best = axes_of(results["trials"]), (results["best"] or {}).get("id")
    trials = sorted(results["trials"], key=lambda t: (measured(t) is None, -(measured(t) or 0.0), t["id"]))
    rows = [
        [
            trial["method"],
            *_setting(trial, axes).values(),
            str(trial["seed"]),
            measured_text(trial),
            num_episodes(trial),
            trial["updates"],
            format_seconds(trial["seconds"]),
            trial["status"],
        ]
        for trial in trials
    ]
    estimated = results["score_unit"] == ESTIMATED
    score, spread = ("estimate", INTERVAL) if estimated else ("score ± std", "± over episodes")
    headers = ["method", *map(label, axes), "seed", score, "episodes", "updates", "time", "status"]
    marks = tuple("best" if trial["id"] == best else trial["status"] for trial in trials)
    return Table(
        f"{results['task']}: {results['score_unit']} of the last checkpoint, {spread}", headers, rows, "", marks
    )


def failures(results: Json) -> list[str]:
    """Return one line per trial that failed, with its cause."""
    failed = [trial for trial in results["trials"] if trial["error"]]
    return [f"{trial['method']}, trial {trial['id']}: {trial['status']} ({trial['error']})" for trial in failed]


def summary_table(results: Json) -> Table:
    """Return one row per method and point of the search, best mean score first.

    Mean and standard deviation are over seeds of the mean over episodes, or over episodes for a single seed.
    """
    axes = axes_of(results["trials"])
    found = _means([trial for trial in results["trials"] if trial["status"] == "done"], axes)
    rows = [
        [
            *setting,
            format_score(row.score, row.within if row.seeds == 1 else row.between),
            int(row.seeds),
            None if pd.isna(row.episodes) else int(row.episodes),
            int(row.updates),
            format_seconds(row.seconds),
        ]
        for setting, row in zip(found.index, found.itertuples(), strict=True)
    ]
    headers = ["method", *map(label, axes), results["score_unit"], "seeds", "episodes", "updates", "learner time"]
    return Table("Means over seeds, ± between seeds", headers, rows)


def _means(done: list[Json], axes: list[str]) -> pd.DataFrame:
    """Return one row per method and point of the search from finished trials, best mean score first."""
    trials = [t | {"measured": measured(t), "episodes": num_episodes(t)} | _setting(t, axes) for t in done]
    frame = pd.DataFrame(trials, columns=["method", *axes, *SUMMED]).astype(dict.fromkeys(SUMMED, float))
    means = frame.groupby(["method", *axes], sort=False).agg(
        score=("measured", "mean"),
        between=("measured", lambda scores: scores.std(ddof=0)),
        within=("score_std", "first"),
        seeds=("measured", "size"),
        episodes=("episodes", "first"),
        updates=("updates", "first"),
        seconds=("seconds", "mean"),
    )
    return means.sort_values("score", ascending=False, kind="stable")


def _setting(trial: Json, axes: list[str]) -> dict[str, str]:
    return {axis: str(trial["values"].get(axis, NOTHING)) for axis in axes}


def summary_markdown(results: Json) -> str:
    """Return the means over seeds for a README, with their data, and the refresh of on-policy methods."""
    data, refresh = results["data"], refresh_table(results)
    source = (
        f"Task {results['task']}: {data['source']}, {data['transitions']} transitions, {data['episodes']} episodes, "
        f"{data['env_id'] or 'no environment'}, fingerprint {data['fingerprint']}. Scores are of the last checkpoint."
    )
    return "\n\n".join([summary_table(results).markdown(), source, *([refresh.markdown()] if refresh else [])])


def refresh_table(results: Json) -> Table | None:
    """Return one row per trial whose rollouts are refreshed with its policy; None if there is none."""
    trials = [trial for trial in results["trials"] if trial["refresh"]]
    headers = [
        "method",
        "trial",
        "policy versions",
        "newest rows, versions old",
        "all rows, versions old",
        "learner busy",
        "samplers busy",
        "rows used at least once",
        "segments generated",
    ]
    rows = [[trial["method"], trial["id"], *_refresh_cells(trial["refresh"])] for trial in trials]
    note = (
        "Samplers use one version of the policy while the learner makes the next. Percentages are of the trial's time, "
        "and of all generated rows."
    )
    return Table("Staleness and use of rows per trial", headers, rows, note) if rows else None


def _refresh_cells(refresh: Json) -> list[str]:
    ratios = [
        f"{refresh[name]:.0%}" for name in ("learner_busy_fraction", "sampler_busy_fraction", "consumed_fraction")
    ]
    ages = [f"{refresh['staleness']:.0f}", f"{refresh['staleness_mean']:.1f}"]
    return [f"{refresh['policy_version'] + 1:.0f}", *ages, *ratios, f"{refresh['segments_imagined']:.0f}"]


def error_table(results: Json) -> Table | None:
    """Return the prediction errors of each world model at its first and last step; None without world models."""
    models = [model for model in results["world_models"] if model["error"]]
    rows = [
        [
            world_model_label(model["name"]),
            model["error"]["driven_by"],
            *(f"{model['error'][f'{quantity}_rms'][i]:.3f}" for quantity in ("obs", "rew") for i in (0, -1)),
        ]
        for model in models
    ]
    steps = [f"{quantity}, {step} step" for quantity in ("states", "rewards") for step in ("first", "last")]
    title = "Root mean square error, in standard deviations of the data"
    return Table(title, ["world model", "driven by", *steps], rows) if rows else None

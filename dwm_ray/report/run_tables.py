"""Tables of a run: trials, means over seeds, and off-policy estimates."""

import pandas as pd

from dwm_ray.report.collect import measured
from dwm_ray.report.table import NOTHING, Cell, Table, format_score, format_seconds
from dwm_ray.tasks.table import ESTIMATED
from dwm_ray.types import Json

INTERVAL = "95\u00a0% interval over episodes"


def estimate_table(results: Json) -> Table | None:
    """Return one row per trial with off-policy estimates, or None if there are none."""
    rows: list[list[Cell]] = []
    for trial in results["trials"]:
        if estimate := trial["estimate"]:
            ends = format_interval(estimate["fqe_low"], estimate["fqe_high"])
            numbers = [f"{estimate[name]:.1f}" for name in ("fqe_spread", "model", "model_spread")]
            last = [f"{estimate['distance']:.2f}", format_seconds(estimate["s"])]
            rows.append([trial["method"], trial["id"], f"{estimate['fqe']:.1f}", ends, *numbers, *last])
    headers = ["method", "trial", "FQE", INTERVAL, "± critics", "imagined", "± models", "distance", "time"]
    note = (
        "Estimates from recorded data, not scores. FQE: discounted return from the start of a held-out episode, by "
        "fitted Q evaluation. Imagined: discounted return of the first steps in one-step models. Distance: mean "
        "squared distance of the policy's actions from the recorded ones, in standard deviations; at about 1 and "
        "above, the other estimates are extrapolations."
    )
    return Table("Off-policy estimates", headers, rows, note) if rows else None


def format_interval(low: float | None, high: float | None, digits: int = 1) -> str:
    """Return '[33.0, 38.2]', or a dash if there were too few episodes or runs for an interval."""
    return NOTHING if low is None or high is None else f"[{low:.{digits}f}, {high:.{digits}f}]"


def measured_text(trial: Json) -> str:
    """Return the score of a trial with its spread, or its estimate with the interval."""
    estimate = trial["estimate"]
    if estimate is None:
        return format_score(trial["score_mean"], trial["score_std"])
    return f"{estimate['fqe']:.1f} {format_interval(estimate['fqe_low'], estimate['fqe_high'])}"


def num_episodes(trial: Json) -> int | None:
    """Return the number of episodes of a trial's score or estimate."""
    count = trial["episodes"] if trial["estimate"] is None else trial["estimate"]["episodes"]
    return None if count is None else int(count)


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
    """Return one line per failed trial, with its cause."""
    failed = [trial for trial in results["trials"] if trial["error"]]
    return [f"{trial['method']}, trial {trial['id']}: {trial['status']} ({trial['error']})" for trial in failed]


def summary_table(results: Json) -> Table:
    """Return one row per method and point of the search, best mean score first.

    Mean and standard deviation are over seeds of the mean over episodes, or over episodes for a single seed.
    """
    axes = axes_of(results["trials"])
    means = _means([trial for trial in results["trials"] if trial["status"] == "done"], axes)
    rows = [
        [
            *setting,
            format_score(row.score, row.within if row.seeds == 1 else row.between),
            int(row.seeds),
            None if pd.isna(row.episodes) else int(row.episodes),
            int(row.updates),
            format_seconds(row.seconds),
        ]
        for setting, row in zip(means.index, means.itertuples(), strict=True)
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
    """Return the means over seeds as Markdown, with their data."""
    data = results["data"]
    source = (
        f"Task {results['task']}: {data['source']}, {data['transitions']} transitions, {data['episodes']} episodes, "
        f"{data['env_id'] or 'no environment'}, fingerprint {data['fingerprint']}. Scores are of the last checkpoint."
    )
    return f"{summary_table(results).markdown()}\n\n{source}"

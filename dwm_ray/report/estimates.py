"""Table and texts of off-policy estimates, which take the place of scores in runs without a simulator."""

from __future__ import annotations

from typing import Any

from dwm_ray.report.table import NOTHING, Cell, Table, format_score, format_seconds

Json = dict[str, Any]

INTERVAL = "95\u00a0% interval over episodes"


def estimate_table(results: Json) -> Table | None:
    """Return one row per trial with off-policy estimates; None if policies were scored in a simulator."""
    trials = [trial for trial in results["trials"] if trial["estimate"]]
    rows = [[trial["method"], trial["id"], *_estimate_cells(trial["estimate"])] for trial in trials]
    headers = ["method", "trial", "FQE", INTERVAL, "± critics", "imagined", "± models", "distance", "time"]
    note = (
        "Estimates from recorded data, not scores. FQE: discounted return from the start of a held-out episode, by "
        "fitted Q evaluation. Imagined: discounted return of the first steps in one-step models. Distance: mean "
        "squared distance of the policy's actions from the recorded ones, in standard deviations; around 1 and above, "
        "the other estimates are extrapolations."
    )
    return Table("Off-policy estimates", headers, rows, note) if rows else None


def _estimate_cells(found: Json) -> list[Cell]:
    ends, names = format_interval(found["fqe_low"], found["fqe_high"]), ("fqe_spread", "model", "model_spread")
    return [
        f"{found['fqe']:.1f}",
        ends,
        *(f"{found[name]:.1f}" for name in names),
        f"{found['distance']:.2f}",
        format_seconds(found["s"]),
    ]


def format_interval(low: float | None, high: float | None) -> str:
    """Return '[33.0, 38.2]', or a dash for an interval that needs more episodes."""
    return NOTHING if low is None or high is None else f"[{low:.1f}, {high:.1f}]"


def measured_text(trial: Json) -> str:
    """Return the score of a trial with its spread, or its estimate with the interval."""
    found = trial["estimate"]
    if found is None:
        return format_score(trial["score_mean"], trial["score_std"])
    return f"{found['fqe']:.1f} {format_interval(found['fqe_low'], found['fqe_high'])}"


def num_episodes(trial: Json) -> int | None:
    """Return the number of episodes behind the score or the estimate of a trial."""
    found = trial["episodes"] if trial["estimate"] is None else trial["estimate"]["episodes"]
    return None if found is None else int(found)

"""The loop of methods that follow the learning policy: how old their rows were, who waited, what was drawn in vain.

Numbers are of a trial's log (`replay.on_policy.OnPolicySource.gauges`): staleness is the largest over the log, all else
its last row.
"""

from __future__ import annotations

from typing import Any

Json = dict[str, Any]

HEADERS = [
    "method",
    "trial",
    "policy versions",
    "newest rows, versions old",
    "all rows, versions old",
    "learner busy",
    "samplers busy",
    "rows drawn at least once",
    "segments imagined",
]


def loop_of(rows: list[Json]) -> Json | None:
    """What a trial's metrics tell of its loop; None where it had none."""
    logged = [row for row in rows if "policy_version" in row]
    if not logged:
        return None
    last = logged[-1]
    names = ("policy_version", "staleness_mean", "learner_busy_fraction", "sampler_busy_fraction", "consumed_fraction")
    loop = {name: last[name] for name in (*names, "segments_imagined")}
    return {**loop, "staleness": max(row["staleness"] for row in logged)}


def loop_rows(results: Json) -> list[list[str]]:
    """A row of cells per trial with a loop, in the order of `HEADERS`."""
    return [_cells(trial) for trial in results["trials"] if trial["loop"] is not None]


def loop_markdown(results: Json) -> str:
    """The same as a table for a README; empty where no trial has a loop."""
    rows = loop_rows(results)
    lines = [HEADERS, ["---"] * len(HEADERS), *rows] if rows else []
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def _cells(trial: Json) -> list[str]:
    loop = trial["loop"]
    shares = [f"{loop[name]:.0%}" for name in ("learner_busy_fraction", "sampler_busy_fraction", "consumed_fraction")]
    ages = [f"{loop['staleness']:.0f}", f"{loop['staleness_mean']:.1f}"]
    versions, segments = f"{loop['policy_version'] + 1:.0f}", f"{loop['segments_imagined']:.0f}"
    return [trial["method"], trial["id"], versions, *ages, *shares, segments]

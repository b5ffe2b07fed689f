"""Costs of a method: seconds, rates and memory from the logs of its trials and of the parts that they share.

Trials share world models and streams, so their seconds are not divided: a method is charged the whole of each part
that it uses, once for all its seeds, as if it ran alone. Values that were not recorded are None.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from dwm_ray.report.collect import final_evaluation
from dwm_ray.runs.folder import read_json
from dwm_ray.runs.row_log import read_rows

Json = dict[str, Any]


def costs(run: Path, method: Json, trials: list[Json]) -> Json:
    """Return the costs of a method (a row of methods.json) from its finished trials (collected results)."""
    columns = ["learner_s", "updates_per_s", "sampling_s", "policy_ms", "max_rss_bytes"]
    rows = pd.DataFrame([_trial_costs(run, trial) for trial in trials], columns=columns, dtype=float)
    means = {**rows.mean(), "max_rss_bytes": rows["max_rss_bytes"].max()}
    found = {name: None if pd.isna(value) else float(value) for name, value in means.items()}
    world_model_s = _seconds(run / "world_models", method["world_model"], "status.json")
    stream_s = _seconds(run / "streams", method["stream"], "stream.json")
    return {**found, "world_model_s": world_model_s, "sampling_s": stream_s or found["sampling_s"]}


def _trial_costs(run: Path, trial: Json) -> Json:
    folder = run / "trials" / trial["id"]
    log = read_rows(folder / "metrics.jsonl")
    return {
        "learner_s": trial["seconds"],
        "updates_per_s": updates_per_s(log),
        "sampling_s": log[-1].get("generating_s") if log else None,
        "policy_ms": final_evaluation(read_rows(folder / "evaluations.jsonl")).get("policy_ms"),
        "max_rss_bytes": max((row["max_rss_bytes"] for row in log if "max_rss_bytes" in row), default=None),
    }


def updates_per_s(log: list[Json]) -> float | None:
    """Return updates over the seconds that they took, without evaluations and checkpoints; None without rates."""
    rows = pd.DataFrame(log, columns=["update", "updates_per_s"], dtype=float)
    updates = rows["update"].diff().fillna(rows["update"])
    timed = rows["updates_per_s"] > 0
    seconds = (updates / rows["updates_per_s"])[timed].sum()
    return float(updates[timed].sum() / seconds) if seconds else None


def _seconds(folder: Path, name: str | None, file: str) -> float | None:
    """Return the seconds that a shared part took."""
    found: float | None = (read_json(folder / str(name) / file) or {}).get("seconds") if name else None
    return found

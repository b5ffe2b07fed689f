"""What a method costs: seconds, rates and memory out of the logs of its trials and of the parts that they share.

World models and streams are shared by trials, so their seconds are not divided: a method is charged the whole of each
part that it uses, once for all its seeds, as if it had been run alone. What was not recorded is None.
"""

from __future__ import annotations

import json
from pathlib import Path
from statistics import mean
from typing import Any

from dwm_ray.runs.row_log import read_rows

Json = dict[str, Any]


def costs(run: Path, method: Json, trials: list[Json]) -> Json:
    """Costs of a method (a row of methods.json) from the folders of its finished trials (collected results)."""
    logs = [read_rows(run / "trials" / trial["id"] / "metrics.jsonl") for trial in trials]
    finals = [final_evaluation(run / "trials" / trial["id"]) for trial in trials]
    rates = [updates_per_s(log) for log in logs]
    drawn = [log[-1].get("generating_s") if log else None for log in logs]
    peaks = [row["max_rss_bytes"] for log in logs for row in log if "max_rss_bytes" in row]
    return {
        "learner_s": _mean([trial["seconds"] for trial in trials]),
        "updates_per_s": _mean(rates),
        "world_model_s": _seconds(run / "world_models", method["world_model"], "status.json"),
        "sampling_s": _seconds(run / "streams", method["stream"], "stream.json") or _mean(drawn),
        "policy_ms": _mean([final.get("policy_ms") for final in finals]),
        "max_rss_bytes": max(peaks, default=None),
    }


def updates_per_s(log: list[Json]) -> float | None:
    """Updates over the seconds that they took, evaluations and checkpoints excluded."""
    updates = [0, *(row["update"] for row in log)]
    spans = [
        (now - before, row.get("updates_per_s")) for before, now, row in zip(updates, updates[1:], log, strict=False)
    ]
    timed = [(done, done / rate) for done, rate in spans if rate]
    return sum(done for done, _ in timed) / sum(seconds for _, seconds in timed) if timed else None


def final_evaluation(trial: Path) -> Json:
    """The row of the last checkpoint's evaluation; empty where the trial has not come to it."""
    return next((row for row in reversed(read_rows(trial / "evaluations.jsonl")) if row.get("final")), {})


def _seconds(folder: Path, name: str | None, file: str) -> float | None:
    """Seconds that making a shared part took."""
    path = folder / str(name) / file
    found: float | None = json.loads(path.read_text()).get("seconds") if name and path.is_file() else None
    return found


def _mean(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return mean(known) if known else None

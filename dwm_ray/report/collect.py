"""Read a run folder into one dict of results, from which tables, figures and pages are made.

A run may be in progress, and some of its trials may have failed: missing values are None, and each trial has a status.
Scores are those of the last checkpoint, never the best point of a curve.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd

from dwm_ray.env_options import EnvOptions
from dwm_ray.experiment.names import method_name
from dwm_ray.registry import plugins
from dwm_ray.runs.folder import RunFolder, read_json, subfolders
from dwm_ray.runs.row_log import read_rows
from dwm_ray.tasks.table import task_for
from dwm_ray.types import Json

MAX_POINTS = 200
"""Maximum number of points per curve."""
PREFIX = "estimate_"
"""Prefix of off-policy estimates in a row of an evaluation."""
SCORED = ("update", "score_mean", "score_std")


def collect_results(run: Path) -> Json:
    """Return the content of results.json; raise ValueError if `run` is not a run folder or contains an invalid log."""
    folder = RunFolder.open(run)
    config = read_json(folder.config) or {}
    if "run" not in config:
        raise ValueError(f"{folder.config}: expected the configuration of a run, with an entry 'run'")
    data, sweep = read_json(run / "data.json") or {}, read_json(folder.sweep) or {}
    trials = _each(run / "trials", _trial)
    models, streams = _each(run / "world_models", _world_model), _each(run / "streams", _stream)
    return {
        "task": config["run"]["task"],
        "data": data,
        "score_unit": _score_unit(config["run"]["task"], data),
        "profile": config.get("profile"),
        "wall_s": sweep.get("wall_s"),
        "dropped": sweep.get("dropped", {}),
        "counters": read_json(folder.counters) or {},
        "best": best_trial(trials),
        "trials": trials,
        "world_models": models,
        "streams": streams,
        "environment": read_json(run / "environment.json") or {},
        "config": config,
    }


def best_trial(trials: list[Json]) -> Json | None:
    """Return the finished trial with the highest score or estimate, without curves; None if no trial has finished."""
    done = [(value, trial) for trial in trials if trial["status"] == "done" and (value := measured(trial)) is not None]
    if not done:
        return None
    _, best = max(done, key=lambda pair: pair[0])
    return {key: value for key, value in best.items() if key not in ("config", "curve", "learning")}


def _score_unit(task: str, data: Json) -> str:
    if not data:
        return "score"
    options = EnvOptions.from_json(data.get("env_options", {}))
    return task_for(task, data["env_id"], data["return_max"], options).score_unit


def _trial(folder: Path) -> Json | None:
    config = read_json(folder / "config.json")
    if config is None:
        return None
    status = read_json(folder / "status.json") or {"status": "pending"}
    evaluations, metrics = read_rows(folder / "evaluations.jsonl"), read_rows(folder / "metrics.jsonl")
    latest = metrics[-1] if metrics else {}
    final: Json = next((row for row in reversed(evaluations) if row.get("final")), {})
    return {
        "id": folder.name,
        "method": method_name(config),
        "world_model": (config["world_model"] or {}).get("name"),
        "agent": config["agent"]["name"],
        "seed": config["seed"],
        "values": _values(folder, config),
        "status": status["status"],
        "error": status.get("error"),
        **{name: final.get(name) for name in ("score_mean", "score_std", "episodes")},
        "estimate": _estimate(final),
        "returns": final.get("returns", []),
        "updates": max(status.get("updates", 0), latest.get("update", 0)),
        "seconds": status.get("seconds", latest.get("seconds")),
        "checkpoint": "last",
        "curve": _curve(evaluations),
        "learning": _columns(metrics, ("update", "q_mean")),
        "costs": _costs(metrics, final),
        "config": config,
    }


def measured(trial: Json) -> float | None:
    """Return the value by which a trial is ranked: its score, or without a simulator its off-policy estimate."""
    value = trial["score_mean"] if trial["estimate"] is None else trial["estimate"]["fqe"]
    return None if value is None else float(value)


def measured_curve(curve: dict[str, list[float | None]]) -> list[float | None]:
    """Return the value of `measured` at each evaluation of a trial's curve."""
    return curve["estimate_fqe"] if "estimate_fqe" in curve else curve["score_mean"]


def _curve(evaluations: list[Json]) -> dict[str, list[Any]]:
    """Return the columns of a learning curve; the last of several evaluations at one update counts."""
    by_update = {row["update"]: row for row in evaluations}
    estimated = any("estimate_fqe" in row for row in evaluations)
    return _columns(list(by_update.values()), ("update", "estimate_fqe") if estimated else SCORED)


def _estimate(row: Json) -> Json | None:
    """Return the off-policy estimates of an evaluation by name; None if it used a simulator."""
    return {name.removeprefix(PREFIX): value for name, value in row.items() if name.startswith(PREFIX)} or None


def _costs(log: list[Json], final: Json) -> Json:
    """Return rates and memory of one trial; values that were not recorded are None."""
    return {
        "updates_per_s": updates_per_s(log),
        "sampling_s": log[-1].get("generating_s") if log else None,
        "policy_ms": final.get("policy_ms"),
        "max_rss_bytes": max((row["max_rss_bytes"] for row in log if "max_rss_bytes" in row), default=None),
    }


def updates_per_s(log: list[Json]) -> float | None:
    """Return the mean rate of updates, excluding evaluations and checkpoints; None if no rate was logged."""
    rows = pd.DataFrame(log, columns=["update", "updates_per_s"], dtype=float)
    updates = rows["update"].diff().fillna(rows["update"])
    timed = rows["updates_per_s"] > 0
    seconds = (updates / rows["updates_per_s"])[timed].sum()
    return float(updates[timed].sum() / seconds) if seconds else None


def _values(folder: Path, config: Json) -> Json:
    """Return the searched values of a trial except its seed, and the horizon and target_rtg if its model uses them."""
    searched = {key: value for key, value in (read_json(folder / "values.json") or {}).items() if key != "seed"}
    if config["world_model"] is None:
        return searched
    plugin = plugins("world_models").get(config["world_model"]["name"])  # it may not exist any more
    names = ("horizon", "target_rtg") if getattr(plugin, "uses_rtg", True) else ("horizon",)
    return {key: config["synthesis"][key] for key in names} | searched


def _world_model(folder: Path) -> Json:
    status, error = read_json(folder / "status.json") or {}, read_json(folder / "error.json") or {}
    described, calibration = read_json(folder / "model.json") or {}, error.pop("calibration", None)
    return {
        "id": folder.name,
        "name": described.get("name") or error.get("model"),
        "seconds": status.get("seconds"),
        "updates": status.get("updates"),
        "returns_corrected": status.get("returns_corrected"),
        "error": error if "obs_mse" in error else None,
        "calibration": calibration,
        "futures": read_json(folder / "futures.json"),
        "learning": _columns(read_rows(folder / "metrics.jsonl"), ("update", "loss", "holdout_loss")),
    }


def _stream(folder: Path) -> Json | None:
    described = read_json(folder / "stream.json")
    return None if described is None else {"id": folder.name, **described}


def _each(folder: Path, read: Callable[[Path], Json | None]) -> list[Json]:
    """Return the results of `read` for each subfolder by name; skip None (a subfolder without files yet)."""
    return [item for path in subfolders(folder) if (item := read(path)) is not None]


def _columns(rows: list[Json], names: tuple[str, ...]) -> dict[str, list[Any]]:
    """Return columns of a log, evenly reduced to `MAX_POINTS` rows including the first and the last."""
    if len(rows) > MAX_POINTS:
        rows = [rows[i * (len(rows) - 1) // (MAX_POINTS - 1)] for i in range(MAX_POINTS)]
    return {name: [row.get(name) for row in rows] for name in names}

"""Read a run folder into one dict of results, which tables, figures and the page are made from.

A run may still be going on, or may have failed in part: what is not there is None, a trial keeps its status, and only
a folder that is no run, or a broken file, is an error. `trials` have final scores of the last checkpoint only; a score
is never taken from the best point of a curve.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dwm_ray.experiment.names import method_name
from dwm_ray.report.loops import loop_of
from dwm_ray.runs.folder import RunFolder
from dwm_ray.runs.row_log import read_rows
from dwm_ray.tasks.table import task_for

MAX_POINTS = 200
"""Points kept per curve: what a figure can show."""

Json = dict[str, Any]


def collect_results(run: Path) -> Json:
    """Results of a run folder, ready for results.json. ValueError where `run` is none or holds a broken file."""
    folder = RunFolder.open(run)
    config = _read(folder.config) or {}
    if "run" not in config:
        raise ValueError(f"{folder.config}: expected the configuration of a run, with an entry 'run'")
    data = _read(run / "data.json") or {}
    sweep = _read(folder.sweep) or {}
    trials = _each(run / "trials", _trial)
    models, streams = _each(run / "world_models", _world_model), _each(run / "streams", _stream)
    return {
        "task": config["run"]["task"],
        "data": data,
        "score_unit": _score_unit(config["run"]["task"], data),
        "profile": config.get("profile"),
        "wall_s": sweep.get("wall_s"),
        "dropped": sweep.get("dropped", {}),
        "counters": _read(folder.counters) or _counted(models, streams),
        "best": best_trial(trials),
        "trials": trials,
        "world_models": models,
        "streams": streams,
        "environment": _read(run / "environment.json") or {},
        "config": config,
    }


def best_trial(trials: list[Json]) -> Json | None:
    """The finished trial with the highest score, without its curves; None where none has finished."""
    done = [trial for trial in trials if trial["status"] == "done" and trial["score_mean"] is not None]
    if not done:
        return None
    best = max(done, key=lambda trial: trial["score_mean"])
    return {key: value for key, value in best.items() if key not in ("config", "curve", "learning")}


def _score_unit(task: str, data: Json) -> str:
    return task_for(task, data["env_id"], data["return_max"]).score_unit if data else "score"


def _trial(folder: Path) -> Json | None:
    config = _read(folder / "config.json")
    if config is None:
        return None
    status = _read(folder / "status.json") or {"status": "pending"}
    evaluations, metrics = _rows(folder / "evaluations.jsonl"), _rows(folder / "metrics.jsonl")
    latest = metrics[-1] if metrics else {}
    final = next((row for row in reversed(evaluations) if row.get("final")), {})
    return {
        "id": folder.name,
        "method": method_name(config),
        "world_model": (config["world_model"] or {}).get("name"),
        "agent": config["agent"]["name"],
        "seed": config["seed"],
        "values": _values(folder, config),
        "status": status["status"],
        "error": status.get("error"),
        "score_mean": final.get("score_mean"),
        "score_std": final.get("score_std"),
        "episodes": final.get("episodes"),
        "updates": max(status.get("updates", 0), latest.get("update", 0)),
        "seconds": status.get("seconds", latest.get("seconds")),
        "checkpoint": "last",
        "curve": _columns(
            list({row["update"]: row for row in evaluations}.values()), ("update", "score_mean", "score_std")
        ),
        "learning": _columns(metrics, ("update", "q_mean")),
        "loop": loop_of(metrics),
        "config": config,
    }


def _values(folder: Path, config: Json) -> Json:
    """What sets this trial's setting apart: the searched axes but the seed, and, where it imagines at all, its horizon
    and target_rtg."""
    searched = {key: value for key, value in (_read(folder / "values.json") or {}).items() if key != "seed"}
    if config["world_model"] is None:
        return searched
    return {key: config["synthesis"][key] for key in ("horizon", "target_rtg")} | searched


def _world_model(folder: Path) -> Json:
    status, error = _read(folder / "status.json") or {}, _read(folder / "error.json")
    described = _read(folder / "model.json") or {}
    return {
        "id": folder.name,
        "name": described.get("name") or (error or {}).get("model"),
        "seconds": status.get("seconds"),
        "updates": status.get("updates"),
        "error": error,
        "learning": _columns(_rows(folder / "metrics.jsonl"), ("update", "loss", "holdout_loss")),
    }


def _stream(folder: Path) -> Json | None:
    described = _read(folder / "stream.json")
    return None if described is None else {"id": folder.name, **described}


def _counted(models: list[Json], streams: list[Json]) -> Json:
    """Counters of a run that kept none, from what it left; nothing tells how much was consumed."""
    return {
        "world_models_trained": sum(model["updates"] is not None for model in models),
        "streams_generated": len(streams) if streams else None,
        "segments_sampled": sum(stream["rows"] for stream in streams) if streams else None,
        "segments_consumed": None,
    }


def _each(folder: Path, read: Callable[[Path], Json | None]) -> list[Json]:
    """What `read` finds in each sub-folder, by name; it gives None for one that has just been started."""
    if not folder.is_dir():
        return []
    found = (read(path) for path in sorted(folder.iterdir()) if path.is_dir())
    return [item for item in found if item is not None]


def _read(path: Path) -> Json | None:
    if not path.is_file():
        return None
    try:
        return json.loads(path.read_text())
    except ValueError as error:
        raise ValueError(f"{path}: not a JSON file ({error})") from error


def _rows(path: Path) -> list[Json]:
    try:
        return read_rows(path)
    except ValueError as error:
        raise ValueError(f"{path}: expected one JSON object per line ({error})") from error


def _columns(rows: list[Json], names: tuple[str, ...]) -> dict[str, list[Any]]:
    """Some columns of a log, thinned evenly to `MAX_POINTS` rows with the first and the last among them."""
    if len(rows) > MAX_POINTS:
        rows = [rows[i * (len(rows) - 1) // (MAX_POINTS - 1)] for i in range(MAX_POINTS)]
    return {name: [row.get(name) for row in rows] for name in names}

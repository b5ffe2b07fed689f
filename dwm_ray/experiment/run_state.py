"""What a run is doing, read from its folder: trials, world models, streams, counters.

Reading costs the run nothing, works on every machine that sees the folder, and shows what would be there after a crash.
Nothing but the folder is asked, so how many updates a world model or blocks a stream will have is known only where
the trials' options tell it: their names are fingerprints of these.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from dwm_ray.blocks.stream import StreamSpec
from dwm_ray.config import RunConfig
from dwm_ray.data.task_data import DataIdentity
from dwm_ray.runs.folder import RunFolder, read_json
from dwm_ray.tasks.table import environment_info
from dwm_ray.world_models.base import model_options
from dwm_ray.world_models.parts.build import model_fingerprint

OVER = ("done", "stopped", "failed")
"""What a trial's status is when nothing more comes of it."""
TAIL_BYTES = 65_536
"""Enough of a log's end for its last rows."""

Json = dict[str, Any]


@dataclass(frozen=True)
class TrialState:
    """One trial. `row` and `evaluation` are the last of their logs, {} before the first."""

    folder: Path
    config: Json
    """Options; {} where the trial has just been named."""
    values: Json
    """The point of the search."""
    status: str
    error: str | None
    total: int
    """Updates that it will make."""
    row: Json
    evaluation: Json

    @property
    def update(self) -> int:
        return int(self.row.get("update", 0))

    @property
    def waiting_share(self) -> float | None:
        """Fraction of the learner's time that it waited for imagined rows; None where it needs none."""
        if "learner_busy_fraction" in self.row:
            return 1 - float(self.row["learner_busy_fraction"])
        if "waited_for_segments_s" not in self.row:
            return None
        waited = float(self.row["waited_for_segments_s"])
        return waited / max(waited + self.row["seconds"], 1e-9)


@dataclass(frozen=True)
class ModelState:
    """One world model, in training or whole."""

    folder: Path
    name: str | None
    """Plug-in; None where no trial's options tell."""
    trained: bool
    total: int | None
    """Most updates of its training; None where nothing tells."""
    row: Json


@dataclass(frozen=True)
class StreamState:
    """One stream of imagined segments on disk."""

    folder: Path
    spec: StreamSpec | None
    complete: bool
    blocks: int
    rows: int | None
    rows_per_s: float | None
    """While it is drawn: since its first block, all samplers together. Then: rows by seconds of sampling."""


@dataclass(frozen=True)
class RunState:
    """A run at one moment."""

    trials: list[TrialState]
    models: list[ModelState]
    streams: list[StreamState]
    counters: Json
    concluded: bool
    """Its results have been written, and nothing has happened since."""
    changed: float
    """When anything last changed, by the file system's clock."""

    def count(self, *statuses: str) -> int:
        return sum(trial.status in statuses for trial in self.trials)

    @property
    def over(self) -> bool:
        """No trial is left to wait for."""
        return bool(self.trials) and self.count(*OVER) == len(self.trials)


def look(run: RunFolder) -> RunState:
    """The run as it is now. Files that are not there yet count as empty."""
    options = read_json(run.config)["run"]
    plan = _plan(run, options)
    trials = [_trial(folder, options["training"]["num_updates"]) for folder in run.trials()]
    models = [_model(folder, plan) for folder in _folders(run.root / "world_models")]
    streams = [_stream(run, folder, plan) for folder in _folders(run.root / "streams")]
    changed = _changed(run)
    written = _modified(run.sweep) if (read_json(run.sweep) or {}).get("wall_s") else 0.0
    concluded = written >= changed and all(trial.status != "running" for trial in trials)
    return RunState(trials, models, streams, read_json(run.counters) or {}, concluded, max(changed, written))


def last_rows(path: Path, most: int) -> list[Json]:
    """Up to `most` rows from the end of a JSON-lines file, without reading all of it; [] where there is none. A
    half-written last row is passed over."""
    if not path.is_file():
        return []
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(max(0, size - TAIL_BYTES))
        lines = file.read().splitlines(keepends=True)
    if size > TAIL_BYTES:
        lines = lines[1:]  # the first one is cut
    whole = [line for line in lines if line.endswith(b"\n") and line.strip()][-most:]
    try:
        return [json.loads(line) for line in whole]
    except ValueError as error:
        raise ValueError(f"{path}: expected one JSON object per line ({error})") from error


@dataclass(frozen=True)
class _Plan:
    """What the trials' options say of the parts that they share, by the parts' names."""

    models: dict[str, tuple[str, int]]
    """Fingerprint -> plug-in, updates."""
    streams: dict[str, StreamSpec]
    num_updates: int | None
    """Of a world model that is none of these: known where all of the run's have equally many."""


def _plan(run: RunFolder, options: Json) -> _Plan:
    identity = _identity(read_json(run.root / "data.json"))
    configs = [folder / "config.json" for folder in run.trials()]
    parts = [_parts(config, identity) for config in configs if config.is_file()]
    models = {name: about for name, about, _ in parts if name and about}
    streams = {spec.fingerprint: spec for _, _, spec in parts if spec is not None}
    totals: set[int | None] = {about[1] for _, about, _ in parts if about}
    totals = totals or {(options["world_model"] or {}).get("num_updates")}
    return _Plan(models, streams, totals.pop() if len(totals) == 1 else None)


@lru_cache(maxsize=4096)
def _parts(config: Path, identity: DataIdentity | None) -> tuple[str | None, tuple[str, int] | None, StreamSpec | None]:
    """Of a trial's world model: its fingerprint, (plug-in, updates), and the stream that it would give. A trial is
    named by its options, so its file never changes. Options that this version of the code does not know tell nothing.
    """
    try:
        run = RunConfig.model_validate(read_json(config))
    except (ValidationError, ValueError):
        return None, None, None
    if run.world_model is None:
        return None, None, None
    about = (run.world_model.plugin_name(), model_options(run).num_updates)
    if identity is None:
        return None, about, None
    name = model_fingerprint(run, identity)
    return name, about, StreamSpec.of(run, name)


def _identity(data: Json | None) -> DataIdentity | None:
    """What world models are named by; None where their scale of returns was measured on data that are not read here."""
    info = environment_info(data["env_id"]) if data else None
    return DataIdentity(data["fingerprint"], info.rtg_scale) if data and info and info.rtg_scale else None


def _trial(folder: Path, num_updates: int) -> TrialState:
    config, status = read_json(folder / "config.json") or {}, read_json(folder / "status.json") or {}
    rows, scores = (last_rows(folder / f"{log}.jsonl", 1) for log in ("metrics", "evaluations"))
    return TrialState(
        folder,
        config,
        read_json(folder / "values.json") or {},
        status.get("status", "pending"),
        status.get("error"),
        config["training"]["num_updates"] if config else num_updates,
        rows[-1] if rows else {},
        scores[-1] if scores else {},
    )


def _model(folder: Path, plan: _Plan) -> ModelState:
    rows, trained = last_rows(folder / "metrics.jsonl", 1), (folder / "status.json").is_file()
    name, total = plan.models.get(folder.name, (None, plan.num_updates))
    name = name or (read_json(folder / "model.json") or {}).get("name")
    return ModelState(folder, name, trained, total, rows[-1] if rows else {})


def _stream(run: RunFolder, folder: Path, plan: _Plan) -> StreamState:
    spec, end = plan.streams.get(folder.name), read_json(folder / "stream.json")
    if end is not None:
        rate = end["rows"] / end["seconds"] if end["seconds"] else None
        return StreamState(folder, spec, True, end["blocks"], end["rows"], rate)
    blocks = [
        entry
        for entry in run.shared.child(f"streams/{folder.name}").files()
        if re.match(r"block-\d+\.parquet$", entry.name)
    ]
    rows = None if spec is None else [len(spec.rows_of(int(block.name[6:-8]))) for block in blocks]
    total = None if rows is None else sum(rows)
    return StreamState(folder, spec, False, len(blocks), total, _rate([block.changed for block in blocks], rows or []))


def _rate(times: list[float], rows: list[int]) -> float | None:
    """Rows a second between the first block's arrival and the last one's; None before the second block."""
    if len(rows) < 2:
        return None
    seconds = max(times) - min(times)
    return (sum(rows) - rows[times.index(min(times))]) / seconds if seconds > 0 else None


def _changed(run: RunFolder) -> float:
    """When a trial, a world model, a stream or the counters last changed. The driver writes the counters every half
    minute at least, so they also tell that it lives."""
    logs = ("metrics.jsonl", "evaluations.jsonl", "status.json", "config.json")
    shared = [*_folders(run.root / "world_models"), *_folders(run.root / "streams")]
    folders: Iterable[Path] = [*run.trials(), *shared]
    return max(map(_modified, [run.config, run.counters, *shared, *(f / log for f in folders for log in logs)]))


def _folders(parent: Path) -> Iterator[Path]:
    return (path for path in sorted(parent.glob("*")) if path.is_dir())


def _modified(path: Path) -> float:
    """Time of the last change; 0 where there is no such file."""
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return 0.0

"""State of a run, read from its folder: trials, world models, streams, counters.

Reading does not disturb the run, works on every machine that has access to the folder, and shows the state that a crash
would leave. The total updates of a world model and the total blocks of a stream are not stored; they are computed from
the options of the trials, whose fingerprints name world models and streams.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from pydantic import ValidationError

from dwm_ray.blocks.stream import StreamSpec
from dwm_ray.config import RunConfig
from dwm_ray.data.task_data import DataIdentity
from dwm_ray.env_options import EnvOptions
from dwm_ray.runs.folder import RunFolder, read_json
from dwm_ray.runs.row_log import last_rows
from dwm_ray.tasks.table import environment_info
from dwm_ray.types import Json
from dwm_ray.world_models.base import trained_options
from dwm_ray.world_models.parts.build import model_fingerprint

ENDED = ("done", "stopped", "failed")
"""Status of a trial that has ended."""


@dataclass(frozen=True)
class TrialState:
    """One trial. `row` and `evaluation` are the last rows of its logs, {} before the first."""

    folder: Path
    config: Json
    """Options; {} before they are written."""
    values: Json
    """Point of the search."""
    status: str
    error: str | None
    total: int
    """Total number of updates."""
    row: Json
    evaluation: Json

    @property
    def update(self) -> int:
        return int(self.row.get("update", 0))

    @property
    def waiting_fraction(self) -> float | None:
        """Fraction of time that the learner waits for generated rows; None if it uses none."""
        if "learner_busy_fraction" in self.row:
            return 1 - float(self.row["learner_busy_fraction"])
        if "waited_for_segments_s" not in self.row:
            return None
        waited = float(self.row["waited_for_segments_s"])
        return waited / max(waited + self.row["seconds"], 1e-9)


@dataclass(frozen=True)
class ModelState:
    """One world model, in training or trained."""

    folder: Path
    name: str | None
    """Plug-in; None if the options of no trial name it."""
    trained: bool
    total: int | None
    """Maximum number of training updates; None if unknown."""
    row: Json


@dataclass(frozen=True)
class StreamState:
    """One stream of segments on disk."""

    folder: Path
    spec: StreamSpec | None
    complete: bool
    blocks: int
    rows: int | None
    rows_per_s: float | None
    """Rate of all samplers since the first block; for a complete stream, rows per second of sampling time."""


@dataclass(frozen=True)
class RunState:
    """Snapshot of a run."""

    trials: list[TrialState]
    models: list[ModelState]
    streams: list[StreamState]
    counters: Json
    concluded: bool
    """Whether results have been written and nothing has changed since."""
    changed: float
    """Time of the last change, according to the file system's clock."""
    planned: int = 0
    """Trials of the whole run, including those that a search has not chosen yet; 0 if unknown."""
    processes: int = 1
    """Number of learners that can run in parallel."""

    @property
    def num_trials(self) -> int:
        return max(self.planned, len(self.trials))

    def count(self, *statuses: str) -> int:
        return sum(trial.status in statuses for trial in self.trials)

    @property
    def over(self) -> bool:
        """Return whether all trials have ended."""
        return bool(self.trials) and self.count(*ENDED) == len(self.trials)


def read_state(run: RunFolder) -> RunState:
    """Return the state of a run; missing files are treated as empty."""
    options = read_json(run.config)["run"]
    parts = _SharedParts.of(run, options)
    trials = [_trial(folder, options["training"]["num_updates"]) for folder in run.trials()]
    models = [_model(folder, parts) for folder in _folders(run.root / "world_models")]
    streams = [_stream(run, folder, parts) for folder in _folders(run.root / "streams")]
    changed = _changed(run)
    sweep = read_json(run.sweep) or {}
    written = _modified(run.sweep) if sweep.get("wall_s") else 0.0
    concluded = written >= changed and all(trial.status != "running" for trial in trials)
    return RunState(
        trials,
        models,
        streams,
        read_json(run.counters) or {},
        concluded,
        max(changed, written),
        sweep.get("num_trials", 0),
        sweep.get("processes", 1),
    )


@dataclass(frozen=True)
class _SharedParts:
    """World models and streams by fingerprint, derived from the options of the trials."""

    models: dict[str, tuple[str, int]]
    """Plug-in and number of updates."""
    streams: dict[str, StreamSpec]
    num_updates: int | None
    """Updates of any other world model, if all world models of the run have the same number; otherwise None."""

    @staticmethod
    def of(run: RunFolder, options: Json) -> _SharedParts:
        identity = _identity(read_json(run.root / "data.json"))
        configs = [folder / "config.json" for folder in run.trials()]
        parts = [_parts_of(config, identity) for config in configs if config.is_file()]
        models = {name: about for name, about, _ in parts if name and about}
        streams = {spec.fingerprint: spec for _, _, spec in parts if spec is not None}
        totals: set[int | None] = {about[1] for _, about, _ in parts if about}
        totals = totals or {(options["world_model"] or {}).get("num_updates")}
        return _SharedParts(models, streams, totals.pop() if len(totals) == 1 else None)


@lru_cache(maxsize=4096)
def _parts_of(
    config: Path, identity: DataIdentity | None
) -> tuple[str | None, tuple[str, int] | None, StreamSpec | None]:
    """Return fingerprint, (plug-in, updates) and stream of a trial's world model; None for each unknown.

    The id of a trial depends on its options, so its file never changes. Options of other code versions are unknown.
    """
    try:
        run = RunConfig.model_validate(read_json(config))
    except (ValidationError, ValueError):
        return None, None, None
    model = trained_options(run)
    if model is None:
        return None, None, None
    about = (model.plugin_name(), model.num_updates)
    if identity is None:
        return None, about, None
    name = model_fingerprint(run, identity)
    return name, about, StreamSpec.of(run, name)


def _identity(data: Json | None) -> DataIdentity | None:
    """Return the identity of the data, or None if their RTG scale depends on rows that are not read here."""
    options = EnvOptions.from_json((data or {}).get("env_options", {}))
    info = environment_info(data["env_id"], options) if data else None
    return DataIdentity(data["fingerprint"], info.rtg_scale) if data and info and info.rtg_scale else None


def _trial(folder: Path, num_updates: int) -> TrialState:
    config, status = read_json(folder / "config.json") or {}, read_json(folder / "status.json") or {}
    row, evaluation = (next(iter(last_rows(folder / f"{log}.jsonl", 1)), {}) for log in ("metrics", "evaluations"))
    total = config["training"]["num_updates"] if config else num_updates
    values = read_json(folder / "values.json") or {}
    return TrialState(
        folder, config, values, status.get("status", "pending"), status.get("error"), total, row, evaluation
    )


def _model(folder: Path, parts: _SharedParts) -> ModelState:
    row, trained = next(iter(last_rows(folder / "metrics.jsonl", 1)), {}), (folder / "status.json").is_file()
    name, total = parts.models.get(folder.name, (None, parts.num_updates))
    name = name or (read_json(folder / "model.json") or {}).get("name")
    return ModelState(folder, name, trained, total, row)


def _stream(run: RunFolder, folder: Path, parts: _SharedParts) -> StreamState:
    spec, end = parts.streams.get(folder.name), read_json(folder / "stream.json")
    if end is not None:
        rate = end["rows"] / end["seconds"] if end["seconds"] else None
        return StreamState(folder, spec, True, end["blocks"], end["rows"], rate)
    files = run.shared.child(f"streams/{folder.name}").files()
    blocks = [entry for entry in files if re.match(r"block-\d+\.parquet$", entry.name)]
    rows = None if spec is None else [len(spec.rows_of(int(block.name[6:-8]))) for block in blocks]
    rate = _rate([block.changed for block in blocks], rows or [])
    return StreamState(folder, spec, False, len(blocks), None if rows is None else sum(rows), rate)


def _rate(times: list[float], rows: list[int]) -> float | None:
    """Return rows per second between the first and the last block; None before the second block."""
    if len(rows) < 2:
        return None
    seconds = max(times) - min(times)
    return (sum(rows) - rows[times.index(min(times))]) / seconds if seconds > 0 else None


def _changed(run: RunFolder) -> float:
    """Return the time of the last change in the run; a driver writes counters at least every 30 seconds."""
    logs = ("metrics.jsonl", "evaluations.jsonl", "status.json", "config.json")
    shared = [*_folders(run.root / "world_models"), *_folders(run.root / "streams")]
    files = [folder / log for folder in [*run.trials(), *shared] for log in logs]
    return max(map(_modified, [run.config, run.counters, *shared, *files]))


def _folders(parent: Path) -> Iterator[Path]:
    return (path for path in sorted(parent.glob("*")) if path.is_dir())


def _modified(path: Path) -> float:
    """Return the time of the last change; 0 without a file."""
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return 0.0

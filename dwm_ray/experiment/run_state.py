"""State of a run, read from its folder: trials, world models, streams, counters.

Reading does not affect the run, works on every machine that has access to the folder, and shows the state that a crash
would leave. The total updates of a world model and the total blocks of a stream are not stored; they are computed from
the options of the trials, whose fingerprints name world models and streams.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path

from dwm_ray.blocks.stream import StreamSpec
from dwm_ray.config import RunConfig
from dwm_ray.experiment.shared_artifacts import SharedArtifacts, stored_config
from dwm_ray.runs.folder import RunFolder, read_json, subfolders
from dwm_ray.runs.row_log import last_rows
from dwm_ray.types import Json

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
    run: RunConfig | None = None
    """The parsed options; None for those of another version of the code."""

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
    """Plug-in; None if no trial's options name it."""
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
    cpus: float = math.inf
    """CPUs for learners, world models and streams together."""
    max_members: int = 1
    """Largest population."""
    start_s: float = 0.0
    """Seconds from the start of the session to its first learner or world model."""

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
    record = read_json(run.config)
    options = record["run"]
    artifacts = SharedArtifacts.of(run, options)
    trials = [_trial(folder, options["training"]["num_updates"]) for folder in run.trials()]
    models = [_model(folder, artifacts) for folder in subfolders(run.root / "world_models")]
    streams = [_stream(run, folder, artifacts) for folder in subfolders(run.root / "streams")]
    changed = _changed(run)
    sweep = read_json(run.sweep) or {}
    written = _modified(run.sweep) if sweep.get("wall_s") else 0.0
    rows = [(state.folder, state.row) for state in trials] + [(state.folder, state.row) for state in models]
    start_times = [_started(folder, row) - _modified(run.sweep) for folder, row in rows if row]
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
        sweep.get("cpus", math.inf),
        record.get("population", 1),
        min([seconds for seconds in start_times if seconds >= 0], default=0.0),
    )


def _trial(folder: Path, num_updates: int) -> TrialState:
    config, status = read_json(folder / "config.json") or {}, read_json(folder / "status.json") or {}
    row, evaluation = (next(iter(last_rows(folder / f"{log}.jsonl", 1)), {}) for log in ("metrics", "evaluations"))
    total = config["training"]["num_updates"] if config else num_updates
    values = read_json(folder / "values.json") or {}
    return TrialState(
        folder,
        config,
        values,
        status.get("status", "pending"),
        status.get("error"),
        total,
        row,
        evaluation,
        stored_config(folder / "config.json") if config else None,
    )


def _model(folder: Path, artifacts: SharedArtifacts) -> ModelState:
    row, trained = next(iter(last_rows(folder / "metrics.jsonl", 1)), {}), (folder / "status.json").is_file()
    name, total = artifacts.models.get(folder.name, (None, artifacts.num_updates))
    name = name or (read_json(folder / "model.json") or {}).get("name")
    return ModelState(folder, name, trained, total, row)


def _stream(run: RunFolder, folder: Path, artifacts: SharedArtifacts) -> StreamState:
    spec, end = artifacts.streams.get(folder.name), read_json(folder / "stream.json")
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
    shared = [*subfolders(run.root / "world_models"), *subfolders(run.root / "streams")]
    files = [folder / log for folder in [*run.trials(), *shared] for log in logs]
    return max(map(_modified, [run.config, run.counters, *shared, *files]))


def _started(folder: Path, row: Json) -> float:
    """Return the time at which the process of a trial or world model started its work, from its last row."""
    return _modified(folder / "metrics.jsonl") - float(row.get("seconds", 0.0)) * int(row.get("num_members", 1))


def _modified(path: Path) -> float:
    """Return the time of the last change; 0 without a file."""
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return 0.0

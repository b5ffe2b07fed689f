"""What the parts of a finished run have cost, from the rows that they left in its folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dwm_ray.blocks.stream import StreamSpec
from dwm_ray.config import RunConfig
from dwm_ray.replay.sources import selection, source_kind
from dwm_ray.runs.folder import RunFailed, read_json
from dwm_ray.runs.row_log import read_rows
from dwm_ray.types import SegmentShape

FLOAT_BYTES, MARK_BYTES = 4, 1
"""Of a number in a ring's row; and of the mark at each row that says whether it was drawn."""


@dataclass(frozen=True)
class RolloutShard:
    """A world model's training or a stream's drawing."""

    cpu_s: float
    """Of all threads of the process, those of Ray in it too."""
    seconds: float
    peak_bytes: int = 0


@dataclass(frozen=True)
class Learned:
    """A trial's learner."""

    agent: str
    imagines: bool
    """Has it a world model and a stream?"""
    update_cpu_s: float
    """Of updates, with logs and checkpoints."""
    evaluation_cpu_s: float
    update_s: float
    evaluation_s: float
    other_s: float
    """Logs, checkpoints and reports to Ray Train: nothing is learned meanwhile."""
    waited_s: float
    """For the first imagined rows, before the clock of learning starts."""
    peak_bytes: int
    ring_bytes: int
    """Imagined rows in the ring, at most."""
    ring_limit_bytes: int
    """What `replay.capacity` allows."""
    done_at: float
    """In seconds since 1970."""

    @property
    def cpu_s(self) -> float:
        return self.update_cpu_s + self.evaluation_cpu_s

    @property
    def seconds(self) -> float:
        return self.update_s + self.evaluation_s + self.other_s


@dataclass(frozen=True)
class Spent:
    """A run's parts."""

    world_models: list[RolloutShard]
    streams: list[RolloutShard]
    learners: list[Learned]
    models_at: float
    """When the last world model was whole, in seconds since 1970; 0 where there is none."""

    @property
    def shared_cpu_s(self) -> float:
        """World models and streams."""
        return sum(part.cpu_s for part in (*self.world_models, *self.streams))

    @property
    def learners_cpu_s(self) -> float:
        return sum(learner.cpu_s for learner in self.learners)

    @property
    def cpu_s(self) -> float:
        """Training, sampling and evaluation."""
        return self.shared_cpu_s + self.learners_cpu_s


def spent(run: Path) -> Spent:
    """RunFailed where a trial of the run is not done."""
    models = [read_rows(path)[-1] for path in sorted(run.glob("world_models/*/metrics.jsonl"))]
    drawn = [read_rows(path) for path in sorted(run.glob("streams/*/journal.jsonl"))]
    whole = [path.stat().st_mtime for path in run.glob("world_models/*/status.json")]
    return Spent(
        [RolloutShard(row["cpu_s"], row["seconds"], row["max_rss_bytes"]) for row in models],
        [
            RolloutShard(*(sum(line.get(name, 0.0) for line in lines) for name in ("cpu_s", "seconds")))
            for lines in drawn
        ],
        [learned(run, folder) for folder in sorted(run.glob("trials/*"))],
        max(whole, default=0.0),
    )


def learned(run: Path, trial: Path) -> Learned:
    """What a trial's log says of its learner."""
    config = RunConfig.model_validate(read_json(trial / "config.json"))
    rows, scored = read_rows(trial / "metrics.jsonl"), read_rows(trial / "evaluations.jsonl")
    if not scored or not scored[-1]["final"]:
        raise RunFailed(f"trial {trial.name} has not come to its end; see {trial}")
    row_bytes = ring_row_bytes(run, config)
    return Learned(
        config.agent.plugin_name(),
        source_kind(config) == "stream",
        *split_cpu(rows, scored),
        *split_seconds(rows, scored),
        waited_s=rows[-1].get("waited_for_segments_s", 0.0),
        peak_bytes=max(row["max_rss_bytes"] for row in rows),
        ring_bytes=row_bytes * max(row.get("synthetic_rows", 0) for row in rows),
        ring_limit_bytes=row_bytes * config.replay.capacity,
        done_at=(trial / "status.json").stat().st_mtime,
    )


def split_cpu(rows: list[dict[str, Any]], scored: list[dict[str, Any]]) -> tuple[float, float]:
    """CPU seconds of (updates, evaluations). Both logs count from the learner's start; of a population's seconds, a
    member's clock counts its part, and its evaluation is its own."""
    before = {row["update"]: row["cpu_s"] for row in rows}
    evaluating = num_members(rows) * sum(row["cpu_s"] - before[row["update"]] for row in scored)
    return scored[-1]["cpu_s"] - evaluating, evaluating


def num_members(rows: list[dict[str, Any]]) -> int:
    """With how many a trial learned, itself included."""
    return int(rows[-1].get("num_members", 1))


def split_seconds(rows: list[dict[str, Any]], scored: list[dict[str, Any]]) -> tuple[float, float, float]:
    """Seconds of (updates, evaluations, the rest)."""
    before = {row["update"]: row["seconds"] for row in rows}
    starts = [0, *(row["update"] for row in rows)]
    updating = sum((row["update"] - start) / row["updates_per_s"] for start, row in zip(starts, rows, strict=False))
    evaluating = num_members(rows) * sum(row["seconds"] - before[row["update"]] for row in scored)
    return updating, evaluating, scored[-1]["seconds"] - updating - evaluating


def ring_row_bytes(run: Path, config: RunConfig) -> int:
    """Bytes that an imagined row takes in a learner's ring; 0 for a trial without a stream."""
    if source_kind(config) != "stream":
        return 0
    specs = [StreamSpec.of(config, folder.name) for folder in run.glob("world_models/*")]
    [shape] = filter(None, (read_json(run / "streams" / spec.fingerprint / "shape.json") for spec in specs))
    return FLOAT_BYTES * selection(config).shape(SegmentShape(**shape)).width + MARK_BYTES

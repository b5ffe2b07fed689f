"""Costs of the parts of a finished run, read from the logs in its folder."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from dwm_ray.blocks.journal import FILE
from dwm_ray.blocks.stream import StreamSpec
from dwm_ray.config import RunConfig
from dwm_ray.data.segment_rows import SegmentShape
from dwm_ray.replay.sources import selection, source_kind
from dwm_ray.runs.folder import RunFailed, read_json
from dwm_ray.runs.row_log import read_rows

FLOAT_BYTES, MARK_BYTES = 4, 1
"""Size of a number in a row of a ring, and of the mark per row that records whether it was sampled."""
Row = dict[str, Any]


@dataclass(frozen=True)
class PartCost:
    """Cost of the training of one world model or of the generation of one stream."""

    cpu_s: float
    """CPU seconds of all threads of the process, including those of Ray."""
    seconds: float
    peak_bytes: int = 0


@dataclass(frozen=True)
class LearnerCost:
    """Cost of the learner of one trial."""

    agent: str
    has_stream: bool
    """Whether the trial uses a world model with a stream of segments."""
    update_cpu_s: float
    """CPU seconds of updates, logs and checkpoints."""
    evaluation_cpu_s: float
    update_s: float
    evaluation_s: float
    other_s: float
    """Seconds of logs, checkpoints and reports to Ray Train."""
    waited_s: float
    """Seconds until the first generated rows arrived; the clock of learning starts afterwards."""
    peak_bytes: int
    ring_bytes: int
    """Peak size of the generated rows in the ring."""
    ring_limit_bytes: int
    """Size that `replay.capacity` allows."""
    done_at: float
    """End of the trial, in seconds since 1970."""

    @property
    def cpu_s(self) -> float:
        return self.update_cpu_s + self.evaluation_cpu_s

    @property
    def seconds(self) -> float:
        return self.update_s + self.evaluation_s + self.other_s

    @staticmethod
    def read(run: Path, trial: Path) -> LearnerCost:
        """Read the logs of a trial. Raise RunFailed if the trial is not finished."""
        config = RunConfig.model_validate(read_json(trial / "config.json"))
        rows, evaluations = read_rows(trial / "metrics.jsonl"), read_rows(trial / "evaluations.jsonl")
        if not evaluations or not evaluations[-1]["final"]:
            raise RunFailed(f"{trial}: the trial is not finished; expected a final evaluation")
        row_bytes = ring_row_bytes(run, config)
        return LearnerCost(
            config.agent.plugin_name(),
            source_kind(config) == "stream",
            *split_cpu(rows, evaluations),
            *split_seconds(rows, evaluations),
            waited_s=rows[-1].get("waited_for_segments_s", 0.0),
            peak_bytes=max(row["max_rss_bytes"] for row in rows),
            ring_bytes=row_bytes * max(row.get("synthetic_rows", 0) for row in rows),
            ring_limit_bytes=row_bytes * config.replay.capacity,
            done_at=(trial / "status.json").stat().st_mtime,
        )


@dataclass(frozen=True)
class RunCosts:
    """Costs of all parts of a run."""

    world_models: list[PartCost]
    streams: list[PartCost]
    learners: list[LearnerCost]
    models_at: float
    """Time at which the last world model was complete, in seconds since 1970; 0 without world models."""

    @property
    def shared_cpu_s(self) -> float:
        """CPU seconds of world models and streams."""
        return sum(part.cpu_s for part in (*self.world_models, *self.streams))

    @property
    def learners_cpu_s(self) -> float:
        return sum(learner.cpu_s for learner in self.learners)

    @property
    def cpu_s(self) -> float:
        """CPU seconds of training, sampling and evaluation."""
        return self.shared_cpu_s + self.learners_cpu_s

    @staticmethod
    def read(run: Path) -> RunCosts:
        """Read a run folder. Raise RunFailed if a trial is not finished."""
        models = [read_rows(path)[-1] for path in sorted(run.glob("world_models/*/metrics.jsonl"))]
        streams = [read_rows(path) for path in sorted(run.glob(f"streams/*/{FILE}"))]
        complete = [path.stat().st_mtime for path in run.glob("world_models/*/status.json")]
        return RunCosts(
            [PartCost(row["cpu_s"], row["seconds"], row["max_rss_bytes"]) for row in models],
            [PartCost(_total(rows, "cpu_s"), _total(rows, "seconds")) for rows in streams],
            [LearnerCost.read(run, folder) for folder in sorted(run.glob("trials/*"))],
            max(complete, default=0.0),
        )


def _total(rows: list[Row], name: str) -> float:
    return sum(row.get(name, 0.0) for row in rows)


def split_cpu(rows: list[Row], evaluations: list[Row]) -> tuple[float, float]:
    """Return CPU seconds of (updates, evaluations). The clock of a member counts its fraction of the population."""
    evaluating = _evaluating(rows, evaluations, "cpu_s")
    return evaluations[-1]["cpu_s"] - evaluating, evaluating


def split_seconds(rows: list[Row], evaluations: list[Row]) -> tuple[float, float, float]:
    """Return seconds of (updates, evaluations, everything else)."""
    steps = pairwise([{"update": 0}, *rows])
    updating = sum((row["update"] - before["update"]) / row["updates_per_s"] for before, row in steps)
    evaluating = _evaluating(rows, evaluations, "seconds")
    return updating, evaluating, evaluations[-1]["seconds"] - updating - evaluating


def _evaluating(rows: list[Row], evaluations: list[Row], clock: str) -> float:
    """Return the time of evaluations, which each member of a population makes for itself."""
    before, num_members = {row["update"]: row[clock] for row in rows}, rows[-1].get("num_members", 1)
    return float(num_members * sum(row[clock] - before[row["update"]] for row in evaluations))


def ring_row_bytes(run: Path, config: RunConfig) -> int:
    """Return the size of a generated row in the ring of a learner; 0 for a trial without a stream."""
    if source_kind(config) != "stream":
        return 0
    num_pairs = (read_json(run / "data.json") or {})["start_pairs"]
    specs = [StreamSpec.of(config, folder.name, num_pairs) for folder in run.glob("world_models/*")]
    [shape] = filter(None, (read_json(run / "streams" / spec.fingerprint / "shape.json") for spec in specs))
    return FLOAT_BYTES * selection(config).shape(SegmentShape(**shape)).width + MARK_BYTES

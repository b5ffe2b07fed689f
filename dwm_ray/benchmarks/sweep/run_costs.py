"""CPU seconds of the parts of a finished run, read from the logs in its folder.

They count all threads of a process, including those of Ray. The clock of a learner starts when it has its first rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dwm_ray.blocks.journal import FILE
from dwm_ray.runs.folder import RunFailed, read_json
from dwm_ray.runs.row_log import read_rows

Row = dict[str, Any]


@dataclass(frozen=True)
class RunCosts:
    """CPU seconds by purpose, summed over the parts of a run."""

    updates: float
    """Updates, logs and checkpoints of learners."""
    evaluation: float
    world_models: float
    sampling: float

    @property
    def learners(self) -> float:
        return self.updates + self.evaluation

    @property
    def useful(self) -> float:
        """CPU seconds of training, sampling and evaluation."""
        return self.learners + self.world_models + self.sampling

    @staticmethod
    def read(run: Path) -> RunCosts:
        """Read a run folder. Raise RunFailed if a trial is not finished."""
        learners = [_learner(trial) for trial in sorted(run.glob("trials/*"))]
        models = [_world_model(path.parent) for path in run.glob("world_models/*/metrics.jsonl")]
        blocks = [row for path in run.glob(f"streams/*/{FILE}") for row in read_rows(path)]
        return RunCosts(
            updates=sum(updates for updates, _ in learners),
            evaluation=sum(evaluation for _, evaluation in learners),
            world_models=sum(models),
            sampling=sum(row.get("cpu_s", 0.0) for row in blocks),
        )


def _world_model(folder: Path) -> float:
    """Return the CPU seconds of a model's updates and of its correction."""
    status = read_json(folder / "status.json") or {}
    return float(read_rows(folder / "metrics.jsonl")[-1]["cpu_s"]) + float(status.get("correction_cpu_s", 0.0))


def _learner(trial: Path) -> tuple[float, float]:
    rows, evaluations = read_rows(trial / "metrics.jsonl"), read_rows(trial / "evaluations.jsonl")
    if not evaluations or not evaluations[-1]["final"]:
        raise RunFailed(f"{trial}: the trial is not finished; expected a final evaluation")
    return split_cpu(rows, evaluations)


def split_cpu(rows: list[Row], evaluations: list[Row]) -> tuple[float, float]:
    """Return the CPU seconds of a trial's updates and of its evaluations.

    The clock of a member counts its fraction of the population. Each member is evaluated separately.
    """
    before, num_members = {row["update"]: row["cpu_s"] for row in rows}, rows[-1].get("num_members", 1)
    evaluating = num_members * sum(row["cpu_s"] - before[row["update"]] for row in evaluations)
    return evaluations[-1]["cpu_s"] - evaluating, evaluating

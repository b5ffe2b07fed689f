"""A trainer's state to Ray Train and back: what a crashed worker goes on from."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any, Protocol

import ray.train
from ray.train import Checkpoint
from torch import Tensor

from dwm_ray.runs import tensor_files

NAME = "trainer"


class Trainer(Protocol):
    """An `AgentTrainer` or a `WorldModelTrainer`."""

    def state_dict(self) -> dict[str, Tensor]: ...

    def load_state_dict(self, state: dict[str, Tensor]) -> None: ...


def report(trainer: Trainer, row: dict[str, Any]) -> None:
    """Report a row's numbers, {seconds, ...} among them, together with a checkpoint."""
    with tempfile.TemporaryDirectory() as folder:
        tensor_files.save(Path(folder), NAME, trainer.state_dict(), row)
        ray.train.report(row, checkpoint=Checkpoint.from_directory(folder))


def resume(trainer: Trainer) -> float:
    """Load the last reported checkpoint, if there is one; returns the seconds of work already spent."""
    reported = ray.train.get_checkpoint()
    if reported is None:
        return 0.0
    with reported.as_directory() as folder:
        tensors, row = tensor_files.load(Path(folder), NAME)
    trainer.load_state_dict(tensors)
    return float(row["seconds"])

"""Train a world model to the end, watch its held-out loss, and publish it with its prediction error by step."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from dwm_ray.config import RunConfig
from dwm_ray.data.task_data import TaskData, window_sets
from dwm_ray.data.windows import WindowSet
from dwm_ray.evaluation.model_error import prediction_error
from dwm_ray.runs.clock import Clock
from dwm_ray.runs.folder import read_json
from dwm_ray.runs.tensor_files import write_json
from dwm_ray.training.model_store import save_model
from dwm_ray.training.world_model import WorldModelTrainer
from dwm_ray.training.writers import MetricsWriter
from dwm_ray.world_models.base import WorldModel

LOGS = 40
"""Rows of metrics, and checkpoints, in one training."""
ERROR_STEPS = 8
"""Window length over which the errors of all models are compared, where the model's own is shorter."""


def fit(
    trainer: WorldModelTrainer,
    num_updates: int,
    on_log: Callable[[dict[str, float]], None],
    seconds_before: float = 0.0,
) -> float:
    """Run the trainer to `num_updates`, or until the model says that more would not pay: the row of that update then
    has `stopped_early`. After every 1/40 `on_log` gets a row {update, loss, holdout_loss, seconds, ...}. Returns the
    seconds, those before a restart included."""
    clock = Clock(seconds_before)
    chunk = max(1, num_updates // LOGS)
    while trainer.update < num_updates and not trainer.stopped:
        row = trainer.run(min(chunk, num_updates - trainer.update))
        if trainer.observe() and trainer.update < num_updates:
            row["stopped_early"] = 1.0
        on_log({"update": trainer.update, **row, "holdout_loss": trainer.holdout_loss(), **clock.costs()})
    trainer.finish()
    return clock.seconds


def log_row(writer: MetricsWriter, row: dict[str, float]) -> None:
    """A row of `on_log` into a writer."""
    writer.metrics(int(row["update"]), {name: value for name, value in row.items() if name != "update"})


def publish(
    folder: Path, model: WorldModel, config: RunConfig, task_data: TaskData, updates: int, seconds: float
) -> None:
    """Write the trained model, its error by step on held-out windows and, last, the status that says it is whole."""
    device = next(model.parameters()).device
    save_model(folder, model, {"task": config.task, "data": task_data.episodes.card.fingerprint})
    if model.starts_from_data:  # else nothing that was recorded followed
        _, holdout = window_sets(config, task_data, max(model.sequence_length, ERROR_STEPS), device)
        write_json(folder / "error.json", measure_error(model, holdout, task_data))
    write_json(folder / "status.json", {"trained": True, "updates": updates, "seconds": seconds})


def measure_error(model: WorldModel, holdout: WindowSet, task_data: TaskData) -> dict[str, Any]:
    """Prediction error by step; models that follow a policy are driven by the recorded actions."""
    generator = torch.Generator(next(model.parameters()).device).manual_seed(0)
    rew_std = float(task_data.episodes.rew.std())
    return prediction_error(model, holdout, task_data.stats.obs_std, rew_std, generator).to_json()


def is_trained(folder: Path) -> bool:
    """Does the folder hold a whole world model?"""
    return read_json(folder / "status.json") is not None

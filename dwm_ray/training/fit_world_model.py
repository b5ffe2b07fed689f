"""Train a world model, log its held-out loss, and publish it with its prediction error and calibration per step."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from dwm_ray.blocks.futures import complete_windows, imagined_segments, recorded_segments
from dwm_ray.blocks.stream import end_imagined_episodes
from dwm_ray.config import RunConfig
from dwm_ray.data.split import split_rows
from dwm_ray.data.task_data import TaskData, window_sets
from dwm_ray.data.windows import WindowSet, complete_window_rows
from dwm_ray.evaluation.calibration import calibration
from dwm_ray.evaluation.examples import example_futures
from dwm_ray.evaluation.model_error import imagined_windows, prediction_error
from dwm_ray.runs.clock import Clock
from dwm_ray.runs.folder import RunFolder, read_json
from dwm_ray.runs.tensor_files import write_json
from dwm_ray.runs.uploads import uploading
from dwm_ray.training.checkpoints import load_state, remove_checkpoint, save_state
from dwm_ray.training.stores import load_model, save_model
from dwm_ray.training.world_model import AverageGradients, WorldModelTrainer
from dwm_ray.training.writers import MetricsWriter
from dwm_ray.types import Termination
from dwm_ray.world_models.base import WorldModel, model_options, sampling_options, seeded
from dwm_ray.world_models.parts.build import model_fingerprint, new_model

NUM_ROWS = 40
"""Rows of metrics, and checkpoints, per training."""
BIAS_PAIRS = 40_000
"""Maximum number of start pairs from which the bias of returns is learned."""
ERROR_STEPS = 8
"""Minimum window length over which the errors of models are compared."""
OnRow = Callable[[dict[str, Any]], None]


@dataclass(frozen=True)
class Worker:
    """Rank of this process among those that train one world model."""

    rank: int = 0
    count: int = 1
    average_gradients: AverageGradients | None = None


ONLY_WORKER = Worker()


def train_world_model(
    config: RunConfig,
    task_data: TaskData,
    run: RunFolder,
    device: torch.device,
    worker: Worker = ONLY_WORKER,
    on_row: OnRow = lambda row: None,
) -> None:
    """Train the run's world model from its last checkpoint to the end; rank 0 logs, checkpoints and publishes it."""
    folder = run.fetched(run.world_model(model_fingerprint(config, task_data.identity)))
    trainer = world_model_trainer(config, task_data, device, worker)
    seconds = _resume(trainer, folder)
    num_updates = model_options(config).num_updates
    if worker.rank > 0:
        trainer.reseed(worker.rank)
        fit(trainer, num_updates, lambda row: None, seconds)
        return
    with uploading(run, folder) as upload, MetricsWriter(folder, trainer.update, on_row, config) as writer:

        def on_log(row: dict[str, float]) -> None:
            writer.metrics(int(row["update"]), {name: value for name, value in row.items() if name != "update"})
            save_state(folder, trainer.state_dict(), row["seconds"])
            upload.now()

        seconds = fit(trainer, num_updates, on_log, seconds)
        publish(folder, trainer.averaged, config, task_data, trainer.update, seconds)
    remove_checkpoint(run, folder)


def world_model_trainer(
    config: RunConfig, task_data: TaskData, device: torch.device, worker: Worker = ONLY_WORKER
) -> WorldModelTrainer:
    """Build a trainer at its first update; workers share initial weights and sample different windows."""
    model = new_model(config, task_data, device)
    train, holdout = window_sets(config, task_data, model.sequence_length, device)
    generator = torch.Generator(device).manual_seed(model_options(config).seed * 1000 + worker.rank)
    rank_batch = max(1, model.windows_per_update // worker.count)
    return WorldModelTrainer(model, train, holdout, generator, worker.average_gradients, rank_batch)


def _resume(trainer: WorldModelTrainer, folder: Path) -> float:
    """Load the checkpoint, if there is one; return the seconds of training so far."""
    saved = load_state(folder)
    if saved is None:
        return 0.0
    state, seconds = saved
    trainer.load_state_dict(state)
    return seconds


def fit(
    trainer: WorldModelTrainer,
    num_updates: int,
    on_log: Callable[[dict[str, float]], None],
    seconds_before: float = 0.0,
) -> float:
    """Train to `num_updates`, or until the model stops early; return the seconds, including those before a restart.

    `on_log` receives `NUM_ROWS` rows {update, loss, holdout_loss, seconds, ...}.
    """
    clock = Clock(seconds_before)
    chunk = max(1, num_updates // NUM_ROWS)
    while trainer.update < num_updates and not trainer.stopped:
        row = trainer.run(min(chunk, num_updates - trainer.update))
        if trainer.observe() and trainer.update < num_updates:
            row["stopped_early"] = 1.0
        on_log({"update": trainer.update, **row, "holdout_loss": trainer.holdout_loss(), **clock.costs()})
    trainer.finish()
    return clock.seconds


def publish(
    folder: Path, model: WorldModel, config: RunConfig, task_data: TaskData, updates: int, seconds: float
) -> None:
    """Write the trained model, its error per step, examples and, last, the status that marks it as complete."""
    device, clock, has_bias = next(model.parameters()).device, Clock(seconds), False
    if model.return_bias is not None:
        train, _ = window_sets(config, task_data, model.sequence_length, device)
        has_bias = learn_return_bias(model, train, task_data.task.termination, config.training.discount)
    seconds, cpu_s = clock.seconds, clock.cpu_s
    save_model(folder, model, {"task": config.task, "data": task_data.episodes.card.fingerprint})
    _, holdout = window_sets(config, task_data, max(model.sequence_length, ERROR_STEPS), device)
    write_json(folder / "error.json", measure_error(model, holdout, task_data))
    if model.starts_from_data:
        generator = torch.Generator(device).manual_seed(0)
        examples = example_futures(model, holdout, task_data.stats.obs_std, task_data.task.termination, generator)
        write_json(folder / "futures.json", examples)
    bias = {"returns_corrected": has_bias, "correction_cpu_s": cpu_s}
    write_json(folder / "status.json", {"trained": True, "updates": updates, "seconds": seconds, **bias})


def correction_note(config: RunConfig, task_data: TaskData) -> str | None:
    """Return a line if the run's world model cannot learn the bias of its returns from these data, otherwise None."""
    options: Any = config.world_model
    if not getattr(options, "correct_returns", False) or not options.can_have_bias:
        return None
    length, episodes = options.sequence_length, task_data.episodes
    train, _ = split_rows(episodes, config.data.holdout_ratio, length)
    if (train & complete_window_rows(episodes, length)).any():
        return None
    return (
        f"world_model.correct_returns: no training episode has {length} states (world_model.sequence_length) or a "
        "termination; imagined returns are not corrected"
    )


def learn_return_bias(model: WorldModel, windows: WindowSet, rule: Termination, discount: float) -> bool:
    """Fit the bias of a trained model's returns on windows of its sequence length.

    Return False if no window is complete; the bias then remains 0. Programs report this (`correction_note`).
    """
    assert model.return_bias is not None
    generator = torch.Generator(next(model.parameters()).device).manual_seed(model.config.seed)
    complete = complete_windows(windows, BIAS_PAIRS, generator)
    if len(complete.rtg) == 0:
        return False
    recorded = recorded_segments(complete, discount)
    continued = model.with_options({"first_step": "recorded"})
    imagined = imagined_segments(continued, recorded, rule, discount, complete.rtg, generator)
    with seeded(model.config.seed):
        model.return_bias.fit(recorded, imagined, complete.rtg, generator)
    return True


def measure_error(model: WorldModel, holdout: WindowSet, task_data: TaskData) -> dict[str, Any]:
    """Return the prediction error and the calibration per step; policy-dependent models follow the recorded actions.

    A model that does not start from recorded pairs has no error, since its segments have no recorded continuation.
    """
    device, rew_std = next(model.parameters()).device, float(task_data.episodes.rew.std())
    calibrated = measure_calibration(model, holdout, task_data, torch.Generator(device).manual_seed(0))
    if not model.starts_from_data:
        return {"model": model.config.plugin_name(), "calibration": calibrated}
    generator = torch.Generator(device).manual_seed(0)
    error = prediction_error(model, holdout, task_data.stats.obs_std, rew_std, generator)
    return {**error, "calibration": calibrated}


def measure_calibration(
    model: WorldModel,
    windows: WindowSet,
    task_data: TaskData,
    generator: torch.Generator,
    *,
    num_windows: int = 2048,
) -> dict[str, Any]:
    """Return the calibration of a model on `imagined_windows`, with terminations by the task's rule or by the model."""
    pairs = imagined_windows(model, windows, generator, num_windows=num_windows)
    rule = task_data.task.termination
    return calibration((recorded, end_imagined_episodes(segments, rule, 1.0)) for recorded, segments in pairs)


def is_trained(folder: Path) -> bool:
    """Return whether the folder holds a fully trained world model."""
    return read_json(folder / "status.json") is not None


def trained_model(config: RunConfig, folder: Path, device: torch.device) -> WorldModel:
    """Load a world model with the sampling options of the run; several runs may share its weights."""
    return load_model(folder, device).with_options(sampling_options(config))

"""Build untrained world models, and compute the fingerprints that identify trained weights."""

import torch

from dwm_ray import __version__
from dwm_ray.data.task_data import DataIdentity, TaskData
from dwm_ray.options import RunOptions, fingerprint
from dwm_ray.world_models.base import WorldModel, WorldModelConfig, model_options, seeded


def model_fingerprint(config: RunOptions, data: DataIdentity) -> str:
    """Return the name of a run's trained world model: equal for all runs that may share it."""
    model = model_options(config)
    return fingerprint(
        {
            "code": __version__,
            "data": data.fingerprint,
            "holdout": config.data.holdout_ratio,
            "discount": config.training.discount,
            "rtg_scale": data.rtg_scale,
            "model": model.plugin_name(),
            "options": model.training_options(),
        }
    )


def new_model(config: RunOptions, task_data: TaskData, device: torch.device) -> WorldModel:
    """Build an untrained world model with fitted normalisers; `world_model.seed` determines its initial weights."""
    options = resolved(model_options(config), task_data)
    with seeded(options.seed):
        model: WorldModel = options.plugin(options, task_data.episodes.spaces)
    model.fit_normalizers(task_data.episodes)
    return model.to(device)


def resolved(options: WorldModelConfig, task_data: TaskData) -> WorldModelConfig:
    """Resolve `continuation: auto` for these data: on if terminations occur that no task rule explains."""
    if getattr(options, "continuation", "off") != "auto":
        return options
    return options.model_copy(update={"continuation": "on" if task_data.has_unexplained_terminations else "off"})

"""World models on disk: `model.safetensors` (weights, normalisers) and `model.json` (plug-in, options, spaces)."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from pydantic import TypeAdapter

from dwm_ray import registry
from dwm_ray.errors import one_line
from dwm_ray.runs import tensor_files
from dwm_ray.types import Spaces
from dwm_ray.world_models.base import WorldModel

NAME = "model"


def save_model(folder: Path, model: WorldModel, meta: dict[str, Any]) -> None:
    """Save weights and description; `meta` is additional JSON."""
    description = {
        "name": model.config.plugin_name(),
        "config": model.config.model_dump(mode="json"),
        "spaces": asdict(model.spaces),
        "meta": meta,
    }
    tensor_files.save(folder, NAME, model.state_dict(), description)


def load_model(folder: Path, device: torch.device | str = "cpu") -> WorldModel:
    """Load a saved model for sampling on `device`; raise ValueError if this version cannot read it."""
    tensors, description = tensor_files.load(folder, NAME)
    try:
        cls = registry.find("world_models", description["name"])
        spaces = TypeAdapter(Spaces).validate_python(description["spaces"])
        model: WorldModel = cls(cls.Config.model_validate(description["config"]), spaces)
        model.load_state_dict(tensors)
    except (KeyError, TypeError, RuntimeError, ValueError) as error:
        raise ValueError(f"{folder}: the world model does not fit this version ({one_line(error)})") from error
    return model.requires_grad_(False).eval().to(device)

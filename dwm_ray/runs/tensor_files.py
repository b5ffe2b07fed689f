"""Tensors and their description in one folder: `NAME.safetensors` beside `NAME.json`, written whole or not at all.

Nothing is ever unpickled: a checkpoint from anywhere can be opened safely.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file so that a reader sees the old or the new content, never a part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    part.write_text(json.dumps(value, indent=2) + "\n")
    part.replace(path)


def save(folder: Path, name: str, tensors: dict[str, Tensor], meta: dict[str, Any]) -> None:
    """Save named tensors (any device, any shape) and a JSON description of them."""
    folder.mkdir(parents=True, exist_ok=True)
    part = folder / f"{name}.safetensors.part"
    save_file({key: value.detach().cpu().contiguous().clone() for key, value in tensors.items()}, part)
    part.replace(folder / f"{name}.safetensors")
    write_json(folder / f"{name}.json", meta)


def load(folder: Path, name: str, device: torch.device | str = "cpu") -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Inverse of `save`. ValueError where the folder holds no such checkpoint or a broken one."""
    with _reading(folder, name):
        meta = json.loads((folder / f"{name}.json").read_text())
        return load_file(folder / f"{name}.safetensors", device=str(device)), meta


def load_one(folder: Path, name: str, key: str) -> Tensor:
    """One tensor of a checkpoint, on the CPU; the others are not read. ValueError as of `load`."""
    with _reading(folder, name), safe_open(folder / f"{name}.safetensors", "pt") as file:
        tensor: Tensor = file.get_tensor(key)
    return tensor


@contextmanager
def _reading(folder: Path, name: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # safetensors raises its own type for broken files
        raise ValueError(f"{folder}: no readable checkpoint {name!r} there ({error})") from error


def prefixed(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Keys under 'prefix.', so that several state dicts share one file."""
    return {f"{prefix}.{key}": value for key, value in tensors.items()}


def unprefixed(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The part of a file that `prefixed` put under a prefix."""
    start = f"{prefix}."
    return {key[len(start) :]: value for key, value in tensors.items() if key.startswith(start)}

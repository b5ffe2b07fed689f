"""Tensor checkpoints: `NAME.safetensors` and its description `NAME.json`, each written atomically.

Nothing is unpickled, so checkpoints of any origin are safe to open.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError, safe_open

from dwm_ray.runs.files import atomic_path, write_atomically

if TYPE_CHECKING:  # processes that only read and write JSON files do not import torch
    import torch
    from torch import Tensor


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file atomically."""
    write_atomically(path, json.dumps(value, indent=2) + "\n")


def save(folder: Path, name: str, tensors: dict[str, Tensor], meta: dict[str, Any]) -> None:
    """Save named tensors of any device and shape, and their JSON description."""
    from safetensors.torch import save_file

    with atomic_path(folder / f"{name}.safetensors") as temporary, _os_errors(temporary):
        save_file({key: value.detach().cpu().contiguous().clone() for key, value in tensors.items()}, temporary)
    write_json(folder / f"{name}.json", meta)


def load(folder: Path, name: str, device: torch.device | str = "cpu") -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Load a checkpoint written by `save`; raise ValueError if it is missing or broken."""
    from safetensors.torch import load_file

    with _reading(folder, name):
        meta = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
        if not isinstance(meta, dict):
            raise ValueError(f"{name}.json: expected a JSON object")
        return load_file(folder / f"{name}.safetensors", device=str(device)), meta


def load_one(folder: Path, name: str, key: str) -> Tensor:
    """Load one tensor of a checkpoint to the CPU without reading the others; raise as `load` does."""
    with _reading(folder, name), safe_open(folder / f"{name}.safetensors", "pt") as file:
        tensor: Tensor = file.get_tensor(key)
    return tensor


@contextmanager
def _os_errors(path: Path) -> Iterator[None]:
    """Raise OSError for a safetensors error caused by the operating system, such as a full disk."""
    try:
        yield
    except SafetensorError as error:
        if number := re.search(r"os error (\d+)", str(error)):
            raise OSError(int(number[1]), os.strerror(int(number[1])), str(path)) from error
        raise


@contextmanager
def _reading(folder: Path, name: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # safetensors raises its own class for broken files
        raise ValueError(f"{folder}: no readable checkpoint {name!r} there ({error})") from error


def prefixed(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Prepend 'prefix.' to all keys, so that several state dicts can share a file."""
    return {f"{prefix}.{key}": value for key, value in tensors.items()}


def unprefixed(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors whose keys start with 'prefix.', without the prefix."""
    start = f"{prefix}."
    return {key[len(start) :]: value for key, value in tensors.items() if key.startswith(start)}

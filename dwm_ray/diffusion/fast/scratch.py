"""Memory for results that live for a moment: asking the system for a fresh megabyte costs more than filling it."""

from __future__ import annotations

import math
import threading

import torch
from torch import Tensor


class Scratch(threading.local):
    """Tensors by name, over the same memory at every call; what was in one is lost. Each thread has its own."""

    def __init__(self) -> None:
        self._flat: dict[tuple[str, torch.dtype, torch.device], Tensor] = {}

    def take(self, name: str, shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
        """Uninitialised memory; another `take` of the same name and type ends it."""
        key, size = (name, dtype, device), math.prod(shape)
        flat = self._flat.get(key)
        if flat is None or len(flat) < size:
            with torch.inference_mode(False):  # it must serve calls with and without inference mode
                flat = self._flat[key] = torch.empty(size, dtype=dtype, device=device)
        return flat[:size].view(shape)

    def copy(self, name: str, source: Tensor, dtype: torch.dtype) -> Tensor:
        """The tensor itself where it has the type, else a copy in memory of that name."""
        if source.dtype == dtype:
            return source
        return self.take(name, tuple(source.shape), dtype, source.device).copy_(source)

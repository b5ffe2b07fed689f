"""Reusable memory for intermediate results: allocating a megabyte costs more than filling it."""

from __future__ import annotations

import math
import threading

import torch
from torch import Tensor


class Scratch(threading.local):
    """Named buffers, reused and overwritten by every call; each thread has its own."""

    def __init__(self) -> None:
        self._flat: dict[tuple[str, torch.dtype, torch.device], Tensor] = {}

    def take(self, name: str, shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
        """Return uninitialised memory, valid until the next `take` of the same name and type."""
        key, size = (name, dtype, device), math.prod(shape)
        flat = self._flat.get(key)
        if flat is None or len(flat) < size:
            with torch.inference_mode(False):  # usable with and without inference mode
                flat = self._flat[key] = torch.empty(size, dtype=dtype, device=device)
        return flat[:size].view(shape)

    def copy(self, name: str, source: Tensor, dtype: torch.dtype) -> Tensor:
        """Return the tensor if it has the type, else a copy in the buffer of that name."""
        if source.dtype == dtype:
            return source
        return self.take(name, tuple(source.shape), dtype, source.device).copy_(source)

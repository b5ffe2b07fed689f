"""Imagining in parts where memory is too small for all rows at once: the same rows, a part at a time.

Parts must not change what is drawn. So each part starts with the generator as the whole would, and every random tensor
that has one entry per row is drawn for the whole, of which the part takes its rows; noise is small beside what a
network holds in between. Rows are equal up to the rounding of matrix products, which may depend on how many rows are
multiplied at once. It works on any world model that draws with `torch.rand`, `randn` and `randint`, rows first;
`tests/contracts` tries each of them.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from dwm_ray.types import Segments

LOG = logging.getLogger(__name__)
FEWEST_ROWS = 16
"""Where even so few rows do not fit, something else fills the memory."""
RANDOM = (torch.rand, torch.randn, torch.randint)
SIGNS = ("can't allocate memory", "out of memory", "CUBLAS_STATUS_ALLOC_FAILED", "could not create a primitive")
"""What torch says of an allocation that failed, where it has no type of its own for it; the last is oneDNN's word."""


class SegmentSampler(Protocol):
    """What a block or a round is drawn with: a world model, or one that spares memory."""

    @property
    def max_horizon(self) -> int: ...

    @property
    def imagine(self) -> Callable[..., Segments]:
        """As `WorldModel.imagine`."""
        ...


def out_of_memory(error: BaseException) -> bool:
    """Is it a failed allocation, on the CPU or on a GPU?"""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(sign in str(error) for sign in SIGNS)


class MicroBatching:
    """How many rows one process imagines at once: all of them, until memory was too small; then half as many, and so
    on. It never goes up again: what took the memory may come back. `tell` hears of each halving."""

    def __init__(self, tell: Callable[[], None] = lambda: None) -> None:
        self.most_rows: int | None = None
        self.count = 0
        self._tell = tell

    def of(self, model: SegmentSampler) -> SegmentSampler:
        """The model, imagining so many rows at once."""
        return _InParts(model, self)

    def halve(self, num_rows: int, error: Exception) -> None:
        """Go on with half as many of `num_rows` at once. MemoryError where that would be fewer than `FEWEST_ROWS`."""
        now = min(num_rows, self.most_rows or num_rows)
        if now // 2 < FEWEST_ROWS:
            raise MemoryError(f"out of memory with {now} imagined rows at once, and fewer would not help") from error
        self.most_rows = (now + 1) // 2
        self.count += 1
        LOG.warning("out of memory with %d imagined rows at once; going on with %d (%s)", now, self.most_rows, error)
        self._tell()


class _InParts:
    def __init__(self, model: SegmentSampler, halving: MicroBatching) -> None:
        self._model, self._halving = model, halving

    @property
    def max_horizon(self) -> int:
        return self._model.max_horizon

    def imagine(self, obs: Tensor, act: Tensor, *, generator: torch.Generator, **how: Any) -> Segments:
        start = generator.get_state()
        while True:
            try:
                return self._in_parts(obs, act, generator, start, how)
            except Exception as error:
                if not out_of_memory(error):
                    raise
                self._halving.halve(len(obs), error)
            # Only here is what the error held of the failed try free again.
            generator.set_state(start)
            if obs.is_cuda:
                torch.cuda.empty_cache()

    def _in_parts(
        self, obs: Tensor, act: Tensor, generator: torch.Generator, start: Tensor, how: dict[str, Any]
    ) -> Segments:
        most = self._halving.most_rows or len(obs)
        if most >= len(obs):
            return self._model.imagine(obs, act, generator=generator, **how)
        rtg, parts = how["rtg"], []
        for first in range(0, len(obs), most):
            rows = slice(first, min(first + most, len(obs)))
            here = how | {"rtg": rtg[rows] if isinstance(rtg, Tensor) and rtg.dim() else rtg}
            generator.set_state(start)
            with _RowsOf(rows, len(obs), generator):
                parts.append(self._model.imagine(obs[rows], act[rows], generator=generator, **here))
        return Segments.cat(parts)


class _RowsOf(TorchFunctionMode):
    """Within it, random tensors of a part are rows of those that the whole would get."""

    def __init__(self, rows: slice, num_rows: int, generator: torch.Generator) -> None:
        super().__init__()
        self._rows, self._num_rows, self._generator = rows, num_rows, generator

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        part = self._rows.stop - self._rows.start
        if func not in RANDOM or kwargs.get("generator") is not self._generator:
            return func(*args, **kwargs)
        head, size = ((), args) if isinstance(args[-1], int) else (args[:-1], args[-1])
        if size[0] % part:  # not one entry, or several, per row: the same for every part
            return func(*args, **kwargs)
        each = size[0] // part
        drawn = func(*head, (self._num_rows * each, *size[1:]), **kwargs)
        return drawn[self._rows.start * each : self._rows.stop * each]

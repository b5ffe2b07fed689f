"""Generate segments in micro-batches if memory is too small for the whole batch.

Micro-batches must not change the result. Each starts with the generator state of the whole batch, and every random
tensor with one entry per row is generated for the whole batch and then sliced; noise is small compared with the
activations of a network. Rows are equal up to the rounding of matrix products, which may depend on the batch size.
World models must use `torch.rand`, `randn` and `randint` with rows first; `tests/contracts` checks each of them.
"""

import logging
from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from dwm_ray.types import Segments

MIN_ROWS = 16
"""Minimum micro-batch size; if it does not fit, other programs occupy the memory."""
RANDOM = (torch.rand, torch.randn, torch.randint)
MESSAGES = ("can't allocate memory", "out of memory", "CUBLAS_STATUS_ALLOC_FAILED", "could not create a primitive")
"""Messages of allocation failures that have no exception class in torch; the last is from oneDNN."""
logger = logging.getLogger(__name__)


class SegmentSampler(Protocol):
    """The part of a world model that block generation uses."""

    @property
    def max_horizon(self) -> int: ...

    @property
    def uses_first_step(self) -> bool: ...

    @property
    def imagine(self) -> Callable[..., Segments]: ...


def out_of_memory(error: BaseException) -> bool:
    """Return whether an error is an allocation failure on the CPU or a GPU."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(message in str(error) for message in MESSAGES)


class MicroBatching:
    """Micro-batch size of one process: unlimited until memory runs out, then halved each time; it never grows again."""

    def __init__(self, on_split: Callable[[], None] = lambda: None) -> None:
        self.max_rows: int | None = None
        self.num_splits = 0
        self._on_split = on_split

    def wrap(self, model: SegmentSampler) -> SegmentSampler:
        """Return a sampler that generates in micro-batches of at most `max_rows`."""
        return _MicroBatched(model, self)

    def split(self, num_rows: int, error: Exception) -> None:
        """Halve the micro-batch size after `error` on `num_rows` rows; raise MemoryError below `MIN_ROWS`."""
        rows = min(num_rows, self.max_rows or num_rows)
        if rows // 2 < MIN_ROWS:
            raise MemoryError(f"out of memory with a micro-batch of {rows} rows; a smaller one is not tried") from error
        self.max_rows = (rows + 1) // 2
        self.num_splits += 1
        logger.warning("out of memory with %d rows; using micro-batches of %d rows (%s)", rows, self.max_rows, error)
        self._on_split()


class _MicroBatched:
    def __init__(self, model: SegmentSampler, micro_batching: MicroBatching) -> None:
        self._model, self._micro_batching = model, micro_batching
        self.max_horizon, self.uses_first_step = model.max_horizon, model.uses_first_step

    def imagine(self, obs: Tensor, act: Tensor, *, generator: torch.Generator, **options: Any) -> Segments:
        start = generator.get_state()
        while True:
            try:
                return self._imagine(obs, act, generator, start, options)
            except Exception as error:
                if not out_of_memory(error):
                    raise
                self._micro_batching.split(len(obs), error)
            # Not in the handler, because the error references tensors of the failed attempt.
            generator.set_state(start)
            if obs.is_cuda:
                torch.cuda.empty_cache()

    def _imagine(
        self, obs: Tensor, act: Tensor, generator: torch.Generator, start: Tensor, options: dict[str, Any]
    ) -> Segments:
        size = self._micro_batching.max_rows or len(obs)
        if size >= len(obs):
            return self._model.imagine(obs, act, generator=generator, **options)
        rtg, recorded, chunks = options["rtg"], options.get("first"), []
        for first in range(0, len(obs), size):
            rows = slice(first, min(first + size, len(obs)))
            row_options = options | {"rtg": rtg[rows] if isinstance(rtg, Tensor) and rtg.dim() else rtg}
            row_options["first"] = None if recorded is None else recorded[rows]
            generator.set_state(start)
            with _SlicedNoise(rows, len(obs), generator):
                chunks.append(self._model.imagine(obs[rows], act[rows], generator=generator, **row_options))
        return Segments.cat(chunks)


class _SlicedNoise(TorchFunctionMode):
    """Mode that makes the random tensors of a micro-batch slices of those of the whole batch."""

    def __init__(self, rows: slice, num_rows: int, generator: torch.Generator) -> None:
        super().__init__()
        self._rows, self._num_rows, self._generator = rows, num_rows, generator

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        num_rows = self._rows.stop - self._rows.start
        if func not in RANDOM or kwargs.get("generator") is not self._generator:
            return func(*args, **kwargs)
        head, size = ((), args) if isinstance(args[-1], int) else (args[:-1], args[-1])
        if size[0] % num_rows:  # not a fixed number of entries per row: the same for every micro-batch
            return func(*args, **kwargs)
        per_row = size[0] // num_rows
        noise = func(*head, (self._num_rows * per_row, *size[1:]), **kwargs)
        return noise[self._rows.start * per_row : self._rows.stop * per_row]

"""Micro-batching: when the batch is split, when it gives up, and that the rows stay the same."""

import logging
from typing import Any

import pytest
import torch
from test_stream import Walk, spec, starts, walk
from torch import Tensor

from dwm_ray.blocks.micro_batching import MIN_ROWS, MicroBatching, out_of_memory
from dwm_ray.blocks.stream import generate_block
from dwm_ray.tasks.table import no_termination
from dwm_ray.types import Segments, Spaces
from dwm_ray.world_models.base import WorldModelConfig

NUM = 101
CPU_ERROR = (
    "[enforce fail at alloc_cpu.cpp:124] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to allocate "
    "8 bytes. Error code 12 (Cannot allocate memory)"
)
ERRORS = [torch.OutOfMemoryError("CUDA out of memory."), MemoryError(), RuntimeError(CPU_ERROR)]


class Small(Walk):
    """Runs out of memory with more than `max_rows` rows."""

    def __init__(self, max_rows: int, error: Exception = ERRORS[0]) -> None:
        super().__init__(WorldModelConfig(), Spaces(2, 1, (-1.0,), (1.0,)))
        self.max_rows, self.error = max_rows, error

    def imagine(self, obs: Tensor, act: Tensor, **options: Any) -> Segments:
        segments = super().imagine(obs, act, **options)
        if len(obs) > self.max_rows:
            raise self.error
        return segments


def rows(model: object, index: int = 0) -> Tensor:
    stream = spec(num_segments=2 * NUM, block_rows=NUM)
    return generate_block(stream, index, model, starts(40), no_termination, torch.zeros(40)).obs  # type: ignore[arg-type]


@pytest.mark.parametrize("error", ERRORS)
def test_rows_are_equal_in_micro_batches_whose_size_is_retained(
    error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    splits: list[None] = []
    batching = MicroBatching(lambda: splits.append(None))
    with caplog.at_level(logging.WARNING):
        first = rows(batching.wrap(Small(30, error)))
    torch.testing.assert_close(first, rows(walk()), rtol=0, atol=0)
    assert (batching.num_splits, batching.max_rows, len(splits)) == (2, 26, 2)  # 101, 51, 26
    assert "out of memory with 101 rows; using micro-batches of 51 rows" in caplog.text
    torch.testing.assert_close(rows(batching.wrap(Small(30, error)), 1), rows(walk(), 1), rtol=0, atol=0)
    assert batching.num_splits == 2


def test_tiny_micro_batches_are_not_tried() -> None:
    batching = MicroBatching()
    with pytest.raises(MemoryError, match="a smaller one is not tried"):
        rows(batching.wrap(Small(MIN_ROWS // 2)))
    assert batching.num_splits == 2  # 101, 51, 26


def test_other_errors_are_raised() -> None:
    batching = MicroBatching()
    with pytest.raises(RuntimeError, match="sizes do not match"):
        rows(batching.wrap(Small(0, RuntimeError("sizes do not match"))))
    assert batching.num_splits == 0
    assert not out_of_memory(OSError(28, "No space left on device"))


def test_a_real_failed_allocation_is_recognised() -> None:
    with pytest.raises(RuntimeError) as failed:
        torch.empty(2**60, dtype=torch.uint8)
    assert out_of_memory(failed.value)

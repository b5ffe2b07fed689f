"""Imagining in halves where memory is too small: what is tried, what is given up, and that the rows stay the same."""

from __future__ import annotations

import logging
from typing import Any

import pytest
import torch
from test_stream import Walk, spec, starts, walk
from torch import Tensor

from dwm_ray.blocks.micro_batching import MIN_ROWS, MicroBatching, out_of_memory
from dwm_ray.blocks.stream import StreamSpec, generate_block
from dwm_ray.tasks.table import never
from dwm_ray.types import Segments, Spaces
from dwm_ray.world_models.base import WorldModelConfig

NUM = 101
CPU_REFUSAL = (
    "[enforce fail at alloc_cpu.cpp:124] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to allocate "
    "8 bytes. Error code 12 (Cannot allocate memory)"
)
REFUSALS = [torch.OutOfMemoryError("CUDA out of memory."), MemoryError(), RuntimeError(CPU_REFUSAL)]


class Small(Walk):
    """Has memory for so many rows at once."""

    most = NUM
    error: Exception = REFUSALS[0]

    def imagine(self, obs: Tensor, act: Tensor, **how: Any) -> Segments:
        drawn = super().imagine(obs, act, **how)
        if len(obs) > self.most:
            raise self.error
        return drawn


def small(most: int, error: Exception = REFUSALS[0]) -> Small:
    model = Small(WorldModelConfig(), Spaces(2, 1, (-1.0,), (1.0,)))
    model.most, model.error = most, error
    return model


def stream() -> StreamSpec:
    return spec(num_segments=2 * NUM, block_rows=NUM)


def rows(model: object, index: int = 0) -> Tensor:
    return generate_block(stream(), index, model, starts(40), never).obs  # type: ignore[arg-type]


@pytest.mark.parametrize("error", REFUSALS)
def test_rows_are_the_same_in_halves_and_it_stays_with_them(error: Exception, caplog: pytest.LogCaptureFixture) -> None:
    told: list[None] = []
    batching = MicroBatching(lambda: told.append(None))
    with caplog.at_level(logging.WARNING):
        first = rows(batching.wrap(small(30, error)))
    torch.testing.assert_close(first, rows(walk()), rtol=0, atol=0)
    assert (batching.num_splits, batching.max_rows, len(told)) == (2, 26, 2)  # 101, 51, 26
    assert "out of memory with 101 rows; using micro-batches of 51 rows" in caplog.text
    torch.testing.assert_close(rows(batching.wrap(small(30, error)), 1), rows(walk(), 1), rtol=0, atol=0)
    assert batching.num_splits == 2


def test_memory_for_hardly_any_rows_is_given_up() -> None:
    batching = MicroBatching()
    with pytest.raises(MemoryError, match="a smaller one is not tried"):
        rows(batching.wrap(small(MIN_ROWS // 2)))
    assert batching.num_splits == 2  # 101, 51, 26


def test_other_errors_pass() -> None:
    batching = MicroBatching()
    with pytest.raises(RuntimeError, match="sizes do not match"):
        rows(batching.wrap(small(0, RuntimeError("sizes do not match"))))
    assert batching.num_splits == 0
    assert not out_of_memory(OSError(28, "No space left on device"))


def test_a_return_to_go_of_each_row_goes_with_its_row() -> None:
    batching, pairs = MicroBatching(), starts(NUM)
    rtg = torch.arange(NUM, dtype=torch.float32)[:, None]
    drawn = batching.wrap(small(30)).imagine(
        pairs.obs[:, 0], pairs.act[:, 0], policy=None, horizon=3, rtg=rtg, generator=torch.Generator()
    )
    torch.testing.assert_close(drawn.rew, rtg.expand(NUM, 3))


def test_real_memory_that_cannot_be_had_counts() -> None:
    with pytest.raises(RuntimeError) as refused:
        torch.empty(2**60, dtype=torch.uint8)
    assert out_of_memory(refused.value)

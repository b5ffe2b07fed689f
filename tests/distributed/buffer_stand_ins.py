"""Stand-ins for samplers, gauges and the object store in this process, and a buffer that works with them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import pytest

from dwm_ray.blocks import block_files
from dwm_ray.blocks.stream import StreamSpec
from dwm_ray.data.segment_rows import SegmentShape
from dwm_ray.distributed.buffer import block_cache, replay_buffer, sampler_tasks
from dwm_ray.distributed.buffer.replay_buffer import SyntheticReplayBuffer
from dwm_ray.distributed.metrics.gauges import FAMILIES, LABELS

SHAPE = SegmentShape(horizon=1, obs_size=1, act_size=1, num_actions=1)
NUM_BLOCKS, BLOCK_ROWS = 6, 4
Blocks = dict[int, np.ndarray]
Failure = Callable[[int], Exception | None]
"""Number of the call -> its error."""


def spec(seed: int = 0) -> StreamSpec:
    """A stream whose last block is shorter."""
    return StreamSpec("model", {}, 0.5, 0.9, NUM_BLOCKS * BLOCK_ROWS - 1, BLOCK_ROWS, seed)


def rows_of(spec: StreamSpec, index: int) -> np.ndarray:
    return np.full((len(spec.rows_of(index)), SHAPE.width), 100 * spec.seed + index, np.float32)


class Sampler:
    """Generates blocks immediately unless `fails` returns an error; records its calls."""

    def __init__(self, run: Path, fails: Failure = lambda call: None, writes_first: bool = False) -> None:
        self.run, self.fails, self.writes_first = run, fails, writes_first
        self.requested: list[int] = []
        self.written: list[int] = []
        self.orphans: list[tuple[StreamSpec, int, np.ndarray]] = []
        """Requests of a buffer that was killed before the answer: they are executed nevertheless."""

    @property
    def generate(self) -> Sampler:
        return self

    @property
    def idle(self) -> SimpleNamespace:
        return SimpleNamespace(remote=self._finish)

    async def _finish(self) -> None:
        while self.orphans:
            self._write(*self.orphans.pop())

    def _write(self, spec: StreamSpec, index: int, rows: np.ndarray) -> None:
        block_files.write_block(self.run, spec, index, rows, SHAPE)
        self.written.append(index)

    def remote(self, spec: StreamSpec, index: int) -> tuple[np.ndarray, Awaitable[dict[str, Any]]]:
        self.requested.append(index)
        rows = rows_of(spec, index)
        return rows, self._meta(spec, index, rows, self.fails(len(self.requested)))

    async def _meta(self, spec: StreamSpec, index: int, rows: np.ndarray, error: Exception | None) -> dict[str, Any]:
        try:
            await asyncio.sleep(0)
        except asyncio.CancelledError:
            self.orphans.append((spec, index, rows))
            raise
        if error is None or self.writes_first:
            self._write(spec, index, rows)
        if error is not None:
            raise error
        return {"rows": len(rows), "shape": SHAPE, "seconds": 0.5, "cpu_s": 0.25, "oom_splits": 0}


class LastGauges:
    """Stores the last values."""

    values: ClassVar[dict[str, float]] = {}

    def __init__(self, family: str, labels: dict[str, str]) -> None:
        assert (family, set(labels)) == ("buffer", set(LABELS["buffer"]))

    def set(self, values: dict[str, float]) -> None:
        assert all(np.isfinite(list(values.values())))
        assert values.keys() == FAMILIES["buffer"].keys()
        LastGauges.values = values


class Store:
    """Stand-in for Ray: named samplers, and an object store in which a reference is the object."""

    def __init__(self) -> None:
        self.samplers: dict[str, Sampler] = {}
        self.puts = 0
        self.restarted = False

    def get_runtime_context(self) -> SimpleNamespace:
        return SimpleNamespace(was_current_actor_reconstructed=self.restarted)

    def get_actor(self, name: str) -> Sampler:
        return self.samplers[name]

    def put(self, rows: np.ndarray) -> np.ndarray:
        self.puts += 1
        return rows


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Store:
    stand_in = Store()
    monkeypatch.setattr(sampler_tasks, "ray", stand_in)
    monkeypatch.setattr(block_cache, "ray", stand_in)
    monkeypatch.setattr(replay_buffer, "Gauges", LastGauges)
    monkeypatch.setattr(sampler_tasks, "RETRY_PAUSE_S", 0.0)
    monkeypatch.setattr(replay_buffer, "GAUGES_INTERVAL_S", 0.0)
    return stand_in


def build(
    run: Path, store: Store, *samplers: Sampler, prefetch_limit: int = 64, num_bytes: int = 10**9
) -> SyntheticReplayBuffer:
    store.samplers = {f"sampler-{i}": sampler for i, sampler in enumerate(samplers)}
    return SyntheticReplayBuffer(str(run), prefetch_limit, num_bytes, list(store.samplers))


async def fetch(buffer: SyntheticReplayBuffer, cursor: str, spec: StreamSpec, max_blocks: int, blocks: Blocks) -> bool:
    """Add the blocks of one fetch, each of which must come once; return whether the stream is finished."""
    delivery = await buffer.fetch(spec, cursor, max_blocks, 1.0, len(blocks))
    assert len(delivery.blocks) <= max_blocks
    for index, [rows] in delivery.blocks:
        assert index not in blocks, "a block came twice"
        assert delivery.shape == SHAPE
        blocks[index] = rows
    return delivery.complete


async def read(buffer: SyntheticReplayBuffer, cursor: str, spec: StreamSpec, max_blocks: int = 2) -> Blocks:
    """Read all blocks of a stream."""
    blocks = Blocks()
    for _ in range(100):
        if await fetch(buffer, cursor, spec, max_blocks, blocks):
            return blocks
    raise AssertionError("the stream never ended")


def assert_complete(blocks: Blocks, spec: StreamSpec) -> None:
    assert sorted(blocks) == list(range(NUM_BLOCKS))
    for index, rows in blocks.items():
        np.testing.assert_array_equal(rows, rows_of(spec, index))

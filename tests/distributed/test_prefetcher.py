"""A learner's prefetcher on a stand-in buffer: rows that are late, lost or broken."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from ray.exceptions import ObjectLostError

from dwm_ray.blocks.stream import StreamSpec
from dwm_ray.data.segment_rows import SegmentShape
from dwm_ray.distributed.buffer.stream import Delivery
from dwm_ray.distributed.workers import prefetcher as module
from dwm_ray.distributed.workers.prefetcher import BlockPrefetcher
from dwm_ray.filters.keep_all import KeepAll, KeepAllConfig
from dwm_ray.options import ReplayConfig
from dwm_ray.replay.selection import Selection
from dwm_ray.replay.sources import SelectedRing

SHAPE = SegmentShape(horizon=2, obs_size=1, act_size=1, num_actions=1)
SPEC = StreamSpec("model", {}, 0.5, 0.9, 12, 4, 0)
LOST = ObjectLostError("0" * 56, "", "")


def block(index: int) -> np.ndarray:
    return np.full((4, SHAPE.width), index, np.float32)


class Buffer:
    """Answers fetches by `answer(cursor, number of the call)`; a reference is the object, or an error to raise."""

    def __init__(self, answer: Callable[[str, int], Delivery | Exception]) -> None:
        self.answer, self.cursors, self.closed = answer, [], []  # type: ignore[var-annotated]
        self.forgotten: list[int] = []
        self.positions: list[float] = []
        self.fetch = self.close = self
        self.invalidate = SimpleNamespace(remote=lambda spec, index: self.forgotten.append(index))
        self.remote = self._remote

    def _remote(self, spec: StreamSpec, cursor: str, *limits: float) -> Any:
        self.positions += limits[2:]
        if not limits:
            self.closed.append(cursor)
            return None
        self.cursors.append(cursor)
        return self.answer(cursor, len(self.cursors))


class Store:
    @staticmethod
    def get(ref: Any) -> Any:
        if isinstance(ref, Exception):
            raise ref
        return ref


@pytest.fixture(autouse=True)
def _store(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ray", Store)


def ring_of(horizon: int, min_synthetic: int = 100, **options: Any) -> SelectedRing:
    select = Selection(KeepAll(KeepAllConfig()), horizon, False)
    return SelectedRing(SPEC, select, ReplayConfig(min_synthetic=min_synthetic, **options), torch.device("cpu"))


def prefetch(buffer: Buffer, horizon: int = 1, patience_s: float = 10.0, **options: Any) -> BlockPrefetcher:
    return BlockPrefetcher(buffer, SPEC, [ring_of(horizon, **options)], "trial", patience_s)


def delivery(*indices: int, complete: bool = False) -> Delivery:
    return Delivery([(index, [block(index)]) for index in indices], SHAPE, complete)


def test_all_rows_arrive_cut_to_the_horizon_and_the_cursor_is_closed() -> None:
    buffer = Buffer(lambda cursor, call: [delivery(1, 0), delivery(), delivery(2, complete=True)][call - 1])
    with prefetch(buffer) as running:
        [ring] = (own.ring for own in running.wait_until_ready())  # fewer rows than min_synthetic, but all there are
    assert (ring.num_added, ring.shape.horizon, running.rows_fetched) == (12, 1, 12)
    sampled = ring.sample(200, torch.Generator().manual_seed(0))
    assert set(sampled.rew.flatten().tolist()) == {0.0, 1.0, 2.0}
    assert buffer.closed == buffer.cursors[:1]
    assert running.gauges(running._rings[0])["synthetic_rows"] == 12


def test_ready_as_soon_as_there_is_enough() -> None:
    buffer = Buffer(lambda cursor, call: delivery(0) if call == 1 else delivery())
    with prefetch(buffer, min_synthetic=4) as running:
        assert running.wait_until_ready()[0].ring.num_added == 4


def test_rows_that_do_not_come_in_time_are_an_error() -> None:
    buffer = Buffer(lambda cursor, call: delivery(0) if call == 1 else delivery())
    with (
        prefetch(buffer, patience_s=0.2) as running,
        pytest.raises(RuntimeError, match=r"only 4 imagined segments arrived within replay\.patience_s = 0\.2 s"),
    ):
        running.wait_until_ready()


def test_a_lost_block_is_read_again_and_no_row_comes_twice() -> None:
    def answer(cursor: str, call: int) -> Delivery:
        if call == 1:
            return Delivery([(0, [block(0)]), (1, [LOST]), (2, [block(2)])], SHAPE, True)
        return delivery(1, 2, complete=True)

    buffer = Buffer(answer)
    with prefetch(buffer) as running:
        assert running.wait_until_ready()[0].ring.num_added == 12
    assert buffer.positions == [0, 1], "it has the first block and asks for those after it"
    assert buffer.forgotten == [1], "the buffer must not hand out the same dead reference again"


def test_a_buffer_that_lost_the_order_of_its_blocks_is_read_from_the_start() -> None:
    def answer(cursor: str, call: int) -> Delivery:
        return [delivery(2), delivery(1, 2, complete=True), delivery(0, 1, 2, complete=True)][call - 1]

    buffer = Buffer(answer)
    with prefetch(buffer) as running:
        assert running.wait_until_ready()[0].ring.num_added == 12
    assert buffer.positions == [0, 1, 0]


def test_readers_of_one_name_have_cursors_of_their_own() -> None:
    """A learner that starts again has an empty ring, and its first cursor may still stand at the end."""
    buffer = Buffer(lambda cursor, call: delivery(0, 1, 2, complete=True))
    for _ in range(2):
        with prefetch(buffer) as running:
            running.wait_until_ready()
    assert len(set(buffer.cursors)) == 2
    assert all(cursor.startswith("trial") for cursor in buffer.cursors)


def test_what_stops_the_thread_reaches_the_learner_wherever_it_stands() -> None:
    buffer = Buffer(lambda cursor, call: delivery(0) if call == 1 else ValueError("the disk is full"))
    with prefetch(buffer) as running:
        with pytest.raises(RuntimeError, match="the stream of imagined segments failed: the disk is full"):
            running.wait_until_ready()
        with pytest.raises(RuntimeError, match="the disk is full"):
            running.gauges(running._rings[0])


def test_the_ring_retains_the_newest_rows_up_to_its_capacity() -> None:
    buffer = Buffer(lambda cursor, call: delivery(0, 1, 2, complete=True))
    with prefetch(buffer, capacity=4) as running:
        [ring] = (own.ring for own in running.wait_until_ready())
    assert (ring.size, ring.num_added) == (4, 12)
    assert set(ring.sample(50, torch.Generator().manual_seed(0)).rew.flatten().tolist()) == {2.0}


def test_one_fetch_fills_the_rings_of_all_members() -> None:
    buffer = Buffer(lambda cursor, call: delivery(0, 1, 2, complete=True))
    rings = [ring_of(1), ring_of(2, capacity=8)]
    with BlockPrefetcher(buffer, SPEC, rings, "trial", 10.0) as running:
        short, long = (own.ring for own in running.wait_until_ready())
    assert (short.shape.horizon, long.shape) == (1, SHAPE)
    assert (short.num_added, long.num_added, long.size) == (12, 12, 8)
    assert (running.rows_fetched, len(buffer.closed)) == (12, 1)
    assert running.gauges(rings[1])["synthetic_rows"] == 8


def test_a_member_with_too_few_rows_holds_up_the_others() -> None:
    buffer = Buffer(lambda cursor, call: delivery(0) if call == 1 else delivery())
    rings = [ring_of(1, min_synthetic=4), ring_of(1, min_synthetic=5)]
    with (
        BlockPrefetcher(buffer, SPEC, rings, "trial", 0.2) as running,
        pytest.raises(RuntimeError, match="only 4 imagined segments"),
    ):
        running.wait_until_ready()

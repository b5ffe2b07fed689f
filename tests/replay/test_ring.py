"""The ring against a deque; what samples are; threads."""

from collections import deque
from threading import Thread

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dwm_ray.data.segment_rows import SegmentShape
from dwm_ray.replay.ring import Ring

SHAPE = SegmentShape(horizon=2, obs_size=3, act_size=2, num_actions=1)


def numbered(first: int, num: int, shape: SegmentShape = SHAPE) -> torch.Tensor:
    """Rows whose every entry is the row's number."""
    return torch.arange(first, first + num, dtype=torch.float32).unsqueeze(1).expand(-1, shape.width)


def drawn(ring: Ring, num: int = 400) -> set[int]:
    segments = ring.sample(num, torch.Generator().manual_seed(0))
    return set(segments.source.int().tolist())


@given(capacity=st.integers(1, 9), sizes=st.lists(st.integers(0, 20), min_size=1, max_size=8))
def test_holds_what_a_deque_would_hold(capacity: int, sizes: list[int]) -> None:
    ring, model, added = Ring(capacity, SHAPE), deque[int](maxlen=capacity), 0
    for num in sizes:
        ring.add(numbered(added, num))
        model.extend(range(added, added + num))
        added += num
        assert (ring.size, ring.num_added) == (len(model), added)
        if model:
            assert drawn(ring) == set(model)


def test_sample_splits_rows_into_segments() -> None:
    ring = Ring(4, SHAPE)
    ring.add(numbered(5, 1))
    segments = ring.sample(3, torch.Generator())
    assert segments.obs.shape == (3, 3, 3)
    assert segments.act.shape == (3, 1, 2)
    assert segments.rew.shape == segments.discount.shape == segments.penalty.shape == (3, 2)
    assert all((part == 5).all() for part in segments.tensors().values())


def test_same_seed_same_batch() -> None:
    ring = Ring(50, SHAPE)
    ring.add(numbered(0, 50))
    first, again, other = (ring.sample(20, torch.Generator().manual_seed(seed)).source for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_a_batch_does_not_change_when_rows_are_added() -> None:
    ring = Ring(2, SHAPE)
    ring.add(numbered(0, 2))
    batch = ring.sample(8, torch.Generator())
    ring.add(numbered(10, 2))
    assert batch.source.max() < 2


def test_no_torn_rows_while_a_thread_adds() -> None:
    ring = Ring(64, SHAPE)
    ring.add(numbered(0, 1))
    writer = Thread(target=lambda: [ring.add(numbered(i * 40, 40)) for i in range(300)])
    writer.start()
    generator = torch.Generator().manual_seed(0)
    while writer.is_alive():
        rows = SHAPE.fuse(ring.sample(32, generator))
        assert torch.equal(rows, rows[:, :1].expand_as(rows))
    writer.join()
    assert ring.num_added == 1 + 300 * 40


def test_refusals() -> None:
    with pytest.raises(ValueError, match="capacity is 0"):
        Ring(0, SHAPE)
    ring = Ring(2, SHAPE)
    with pytest.raises(ValueError, match="expected rows to sample from"):
        ring.sample(1, torch.Generator())
    with pytest.raises(ValueError, match=rf"rows are \[1, 3\]; expected \[n, {SHAPE.width}\]"):
        ring.add(torch.zeros(1, 3))


@given(capacity=st.integers(1, 9), sizes=st.lists(st.integers(0, 20), min_size=1, max_size=6))
def test_counts_the_rows_that_were_ever_drawn(capacity: int, sizes: list[int]) -> None:
    ring, seen, added = Ring(capacity, SHAPE), set[int](), 0
    for num in sizes:
        ring.add(numbered(added, num))
        added += num
        if ring.size:
            seen |= drawn(ring, 3)
    assert ring.consumed_fraction == len(seen) / max(added, 1)


def test_recorded_rows_are_not_copied() -> None:
    rows = numbered(0, 5).contiguous()
    ring = Ring.of_recorded(rows, SHAPE)
    assert ring.size == ring.capacity == 5
    assert ring._rows.data_ptr() == rows.data_ptr()
    assert drawn(ring) == set(range(5))

"""The ring against a deque; what samples are; threads."""

from collections import deque
from threading import Thread

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dwm_ray.data.segment_rows import SegmentShape
from dwm_ray.replay.mixture import Mixture
from dwm_ray.replay.mixture import num_recorded as num_recorded_of
from dwm_ray.replay.ring import Ring

SHAPE = SegmentShape(horizon=2, obs_size=3, act_size=2, num_actions=1)


def numbered(first: int, num: int, shape: SegmentShape = SHAPE) -> torch.Tensor:
    """Rows whose every entry is the row's number."""
    return torch.arange(first, first + num, dtype=torch.float32).unsqueeze(1).expand(-1, shape.width)


def sampled(ring: Ring, num: int = 400) -> set[int]:
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
            assert sampled(ring) == set(model)


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
            seen |= sampled(ring, 3)
    assert ring.consumed_fraction == len(seen) / max(added, 1)


def test_recorded_rows_are_not_copied() -> None:
    rows = numbered(0, 5).contiguous()
    ring = Ring.of_recorded(rows, SHAPE)
    assert ring.size == ring.capacity == 5
    assert ring._rows.data_ptr() == rows.data_ptr()
    assert sampled(ring) == set(range(5))


REAL = SegmentShape(horizon=1, obs_size=2, act_size=1, num_actions=1)


def ring(shape: SegmentShape, value: float, num: int = 5) -> Ring:
    filled = Ring(max(num, 1), shape)
    filled.add(torch.full((num, shape.width), value))
    return filled


@given(
    ratio=st.floats(0, 1),
    batch_size=st.integers(1, 64),
    horizon=st.integers(1, 4),
    longer=st.integers(0, 3),
)
def test_split_is_exact_and_real_rows_come_first(ratio: float, batch_size: int, horizon: int, longer: int) -> None:
    imagined = SegmentShape(horizon, 2, 1, 1)
    mixture = Mixture(ring(REAL, 0.0), ring(imagined, 7.0), ratio, batch_size, horizon + longer)
    batch = mixture.next_batch(torch.Generator().manual_seed(0))
    num_recorded = num_recorded_of(ratio, batch_size)
    assert abs(num_recorded - ratio * batch_size) <= 0.5
    assert batch.source.tolist() == [0.0] * num_recorded + [7.0] * (batch_size - num_recorded)
    assert batch.obs.shape == (batch_size, horizon + longer + 1, 2)
    assert batch.act.shape == (batch_size, 1, 1)
    assert torch.equal(batch.discount[:num_recorded, 1:], torch.ones(num_recorded, horizon + longer - 1))
    assert torch.equal(batch.discount[num_recorded:, horizon:], torch.ones(batch_size - num_recorded, longer))
    assert (batch.rew[num_recorded:, horizon:] == 0).all()


def test_halves_are_rounded_up() -> None:
    assert [num_recorded_of(0.5, size) for size in (1, 2, 3, 5)] == [1, 1, 2, 3]
    assert num_recorded_of(0.6, 256) == 154
    assert (num_recorded_of(0.0, 7), num_recorded_of(1.0, 7)) == (0, 7)


def test_real_rows_never_stand_in_for_imagined_ones() -> None:
    mixture = Mixture(ring(REAL, 0.0), ring(REAL, 1.0, num=0), 0.5, 4)
    with pytest.raises(ValueError, match="expected rows to sample from"):
        mixture.next_batch(torch.Generator())


def test_sees_imagined_rows_that_come_later() -> None:
    imagined = ring(REAL, 1.0)
    mixture = Mixture(ring(REAL, 0.0), imagined, 0.0, 64)
    imagined.add(torch.full((5, REAL.width), 2.0))
    assert set(mixture.next_batch(torch.Generator()).source.tolist()) == {2.0}


@pytest.mark.parametrize(("stored", "wanted"), [(1, 4), (3, 7)])
def test_rows_padded_while_gathered_are_those_of_padded_segments(stored: int, wanted: int) -> None:
    narrow = SegmentShape(stored, obs_size=3, act_size=2, num_actions=1)
    rows = torch.randn(50, narrow.width, generator=torch.Generator().manual_seed(0))
    filled = Ring(50, narrow)
    filled.add(rows)
    padded = Mixture(filled, None, 1.0, 32, wanted).next_batch(torch.Generator().manual_seed(1))
    plain = filled.sample(32, torch.Generator().manual_seed(1)).padded(wanted)
    for name, value in plain.tensors().items():
        assert torch.equal(getattr(padded, name), value), name


def test_imagined_rows_have_no_next_action() -> None:
    recorded = SegmentShape(1, 2, 1, 1, has_next_act=True)
    batch = Mixture(ring(recorded, 3.0), ring(SegmentShape(4, 2, 1, 1), 7.0), 0.5, 6).next_batch(torch.Generator())
    assert batch.next_act is not None
    assert batch.next_act[:3].tolist() == [[3.0]] * 3
    assert batch.next_act[3:].isnan().all()
    assert not any(getattr(batch, name).isnan().any() for name in ("obs", "act", "rew", "discount", "penalty"))


def test_rings_of_other_sizes_are_refused() -> None:
    other = ring(SegmentShape(2, obs_size=3, act_size=1, num_actions=1), 1.0)
    with pytest.raises(ValueError, match="cannot be padded"):
        Mixture(ring(REAL, 0.0), other, 0.5, 4)

"""The split of a batch is exact, and real rows fit the imagined ones."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dwm_ray.replay.mixture import Mixture
from dwm_ray.replay.ring import Ring
from dwm_ray.types import SegmentShape

REAL = SegmentShape(horizon=1, obs_size=2, act_size=1, num_actions=1)


def ring(shape: SegmentShape, value: float, num: int = 5) -> Ring:
    filled = Ring(max(num, 1), shape)
    filled.add(torch.full((num, shape.width), value))
    return filled


@given(
    ratio=st.floats(0, 1),
    batch_size=st.integers(1, 64),
    horizon=st.integers(1, 4),
    all_actions=st.booleans(),
)
def test_split_is_exact_and_real_rows_come_first(
    ratio: float, batch_size: int, horizon: int, all_actions: bool
) -> None:
    imagined = SegmentShape(horizon, 2, 1, horizon if all_actions else 1)
    mixture = Mixture(ring(REAL, 0.0), ring(imagined, 7.0), ratio, batch_size)
    batch = mixture.next_batch(torch.Generator().manual_seed(0))
    num_real = Mixture.num_real(ratio, batch_size)
    assert abs(num_real - ratio * batch_size) <= 0.5
    assert batch.source.tolist() == [0.0] * num_real + [7.0] * (batch_size - num_real)
    assert batch.obs.shape == (batch_size, horizon + 1, 2)
    assert batch.act.shape == (batch_size, imagined.num_actions, 1)
    assert torch.equal(batch.discount[:num_real, 1:], torch.ones(num_real, horizon - 1))


def test_halves_are_rounded_up() -> None:
    assert [Mixture.num_real(0.5, size) for size in (1, 2, 3, 5)] == [1, 1, 2, 3]
    assert Mixture.num_real(0.6, 256) == 154
    assert (Mixture.num_real(0.0, 7), Mixture.num_real(1.0, 7)) == (0, 7)


def test_without_imagined_rows_all_are_real() -> None:
    batch = Mixture(ring(REAL, 3.0), None, 0.0, 6).next_batch(torch.Generator())
    assert batch.horizon == 1
    assert batch.source.tolist() == [3.0] * 6


def test_real_rows_never_stand_in_for_imagined_ones() -> None:
    mixture = Mixture(ring(REAL, 0.0), ring(REAL, 1.0, num=0), 0.5, 4)
    with pytest.raises(ValueError, match="no rows to sample"):
        mixture.next_batch(torch.Generator())


def test_sees_imagined_rows_that_come_later() -> None:
    synthetic = ring(REAL, 1.0)
    mixture = Mixture(ring(REAL, 0.0), synthetic, 0.0, 64)
    synthetic.add(torch.full((5, REAL.width), 2.0))
    assert set(mixture.next_batch(torch.Generator()).source.tolist()) == {2.0}

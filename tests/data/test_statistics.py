import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from recordings import episodes

from dwm_ray.data.statistics import data_stats, return_to_go


def test_return_to_go_by_hand() -> None:
    data = episodes([3, 2], [True, False])  # rewards 1 2 3 | 4 5
    np.testing.assert_allclose(return_to_go(data, 0.5), [1 + 1 + 0.75, 2 + 1.5, 3, 4 + 2.5, 5])


@given(st.lists(st.integers(1, 9), min_size=1, max_size=5), st.floats(0.1, 0.999))
def test_return_to_go_obeys_its_recursion(lengths: list[int], discount: float) -> None:
    data = episodes(lengths, [False] * len(lengths))
    rtg = return_to_go(data, discount)
    assert rtg.dtype == np.float32
    last = data.offsets[1:] - 1
    np.testing.assert_array_equal(rtg[last], data.rew[last])
    inside = np.setdiff1d(np.arange(len(rtg)), last)
    np.testing.assert_allclose(rtg[inside], data.rew[inside] + discount * rtg[inside + 1], rtol=1e-5)


def test_data_stats_by_hand() -> None:
    stats = data_stats(episodes([3, 2], [True, False]), 0.5)
    assert (stats.rew_min, stats.rew_max) == (1, 5)
    assert (stats.return_min, stats.return_max) == (6, 9)
    assert (stats.rtg_min, stats.rtg_max) == (2.75, 6.5)
    assert stats.obs_mean.tolist() == [2, 0]
    assert stats.obs_std[0] == pytest.approx(np.sqrt(2))

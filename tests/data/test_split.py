import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from recordings import episodes

from dwm_ray.data.split import split_episodes, take


@given(st.lists(st.integers(1, 5), min_size=2, max_size=12), st.floats(0.01, 0.99), st.integers(0, 9))
def test_split_is_a_partition_of_whole_episodes(lengths: list[int], ratio: float, seed: int) -> None:
    data = episodes(lengths, [False] * len(lengths))
    train, holdout = split_episodes(data, ratio, seed)
    assert train.num_episodes + holdout.num_episodes == len(lengths)
    assert min(train.num_episodes, holdout.num_episodes) >= 1
    together = np.sort(np.concatenate([train.rew, holdout.rew]))
    np.testing.assert_array_equal(together, data.rew)
    assert sorted([*np.diff(train.offsets), *np.diff(holdout.offsets)]) == sorted(lengths)


def test_split_follows_ratio_and_seed() -> None:
    data = episodes([1] * 40, [False] * 40)
    train, holdout = split_episodes(data, 0.25, 1)
    assert (train.num_episodes, holdout.num_episodes) == (30, 10)
    assert split_episodes(data, 0.25, 1)[1].card.fingerprint == holdout.card.fingerprint
    assert split_episodes(data, 0.25, 2)[1].card.fingerprint != holdout.card.fingerprint


def test_one_episode_cannot_be_split() -> None:
    with pytest.raises(ValueError, match="one episode"):
        split_episodes(episodes([5], [True]), 0.5)


def test_take_keeps_chosen_episodes_and_renames_content() -> None:
    data = episodes([2, 3, 1], [True, False, False])
    part = take(data, np.array([0, 2]))
    assert part.rew.tolist() == [1, 2, 6]
    assert part.offsets.tolist() == [0, 2, 3]
    assert part.card.fingerprint != data.card.fingerprint

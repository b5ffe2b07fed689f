"""Task data, return-to-go targets, split, statistics and start pairs."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from recordings import episodes
from tiny_task import recording, tiny_config

from dwm_ray.config import RunConfig
from dwm_ray.data.split import PARTS, split_episodes, split_for_estimates, take
from dwm_ray.data.statistics import data_stats, return_to_go
from dwm_ray.data.task_data import TaskData, load_task_data, window_sets
from dwm_ray.data.transitions import fused_rows, real_segments
from dwm_ray.data.windows import WindowSet, is_outside_range, labels_text, start_labels, target_rtg_of
from dwm_ray.local.executor import run_configs
from dwm_ray.options import SynthesisConfig
from dwm_ray.runs.folder import RunFolder

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> RunConfig:
    return tiny_config(recording(tmp_path_factory.mktemp("data") / "pendulum.hdf5"))


def test_a_run_computes_start_pairs_and_returns_to_go_once(config: RunConfig, tmp_path: Path) -> None:
    fused_rows.cache_clear()
    return_to_go.cache_clear()
    task_data = load_task_data(config)
    again = TaskData.of(config, task_data.episodes)
    run_configs([config], RunFolder(tmp_path), task_data.episodes)
    assert (fused_rows.cache_info().misses, return_to_go.cache_info().misses) == (1, 1)
    first, second = (data.start_pairs(config.training.discount, CPU) for data in (task_data, again))
    assert first.obs.data_ptr() == second.obs.data_ptr()
    task_data.start_pairs(0.5, CPU)
    assert fused_rows.cache_info().misses == 2


def test_computed_labels_cannot_be_changed(config: RunConfig) -> None:
    with pytest.raises(ValueError, match="read-only"):
        return_to_go(load_task_data(config).episodes, 0.9)[0] = 1.0


def test_window_sets_are_those_of_the_split_episodes(config: RunConfig) -> None:
    task_data = load_task_data(config)
    scale, discount = task_data.task.rtg_scale, config.training.discount
    parts = split_episodes(task_data.episodes, config.data.holdout_ratio)
    for windows, part in zip(window_sets(config, task_data, 4, CPU), parts, strict=True):
        every = torch.arange(part.num_transitions)
        expected = vars(WindowSet(part, 4, discount, scale).gather(every))
        result = vars(windows.gather(every))
        assert windows.num_windows == len(every)
        assert all(np.array_equal(result[name], expected[name]) for name in expected)


LABELS = np.array([-2.0, -0.5, 0.0, 1.0, 3.0], np.float32)


def test_labels_are_those_of_the_start_pairs() -> None:
    recorded = episodes([2, 2], [True, False], with_next=False)  # rewards 1 2, 3 4; the last row is no start pair
    labels = start_labels(recorded, 0.5, 10.0, "episode", 8)
    assert len(labels) == len(real_segments(recorded, 0.5))
    np.testing.assert_allclose(labels, np.array([1 + 0.5 * 2, 2, 3 + 0.5 * 4], np.float32) / 10)
    np.testing.assert_allclose(start_labels(recorded, 0.5, 10.0, "window", 1), np.array([1, 2, 3], np.float32) / 10)


def test_targets() -> None:
    expected = {0.7: [0.7] * 5, "q0.5": [0.0] * 5, "q1": [3.0] * 5, "own": LABELS, "x1.2": [-1.6, -0.4, 0.0, 1.2, 3.6]}
    for target, values in expected.items():
        torch.testing.assert_close(target_rtg_of(target, LABELS, CPU), torch.as_tensor(values))


def test_numbers_outside_the_labels() -> None:
    assert [is_outside_range(target, LABELS) for target in (-2.1, 3.0, 3.1, "x2", "own")] == [
        True,
        False,
        True,
        False,
        False,
    ]
    assert labels_text(LABELS, 1200.0) == "return-to-go labels -2 to 3, median 0 (in units of 1200)"


@pytest.mark.parametrize("word", [0.5, -1.0, "own", "q0", "q0.95", "x0.8"])
def test_targets_are_read_back(word: float | str) -> None:
    assert SynthesisConfig(target_rtg=word).target_rtg == word
    assert SynthesisConfig.model_validate_json(SynthesisConfig(target_rtg=word).model_dump_json()).target_rtg == word


def test_numbers_may_be_words() -> None:
    assert SynthesisConfig(target_rtg="0.5") == SynthesisConfig(target_rtg=0.5)
    assert SynthesisConfig(target_rtg=1).model_dump_json() == SynthesisConfig(target_rtg=1.0).model_dump_json()


@pytest.mark.parametrize("word", ["best", "q1.5", "q-1", "x-1", "x", "", "nan", "xinf", "0.5 0.6"])
def test_other_words_are_refused(word: str) -> None:
    with pytest.raises(ValueError, match=r"expected a number, own, a quantile \(q0.9\) or a factor \(x1.2\)"):
        SynthesisConfig(target_rtg=word)


@given(st.lists(st.integers(1, 5), min_size=2, max_size=12), st.floats(0.01, 0.99))
def test_split_is_a_partition_of_whole_episodes(lengths: list[int], ratio: float) -> None:
    data = episodes(lengths, [False] * len(lengths))
    train, holdout = split_episodes(data, ratio)
    assert train.num_episodes + holdout.num_episodes == len(lengths)
    assert min(train.num_episodes, holdout.num_episodes) >= 1
    together = np.sort(np.concatenate([train.rew, holdout.rew]))
    np.testing.assert_array_equal(together, data.rew)
    assert sorted([*np.diff(train.offsets), *np.diff(holdout.offsets)]) == sorted(lengths)


def test_split_follows_the_ratio_and_is_the_same_every_time() -> None:
    data = episodes([1] * 40, [False] * 40)
    train, holdout = split_episodes(data, 0.25)
    assert (train.num_episodes, holdout.num_episodes) == (30, 10)
    assert split_episodes(data, 0.25)[1].card.fingerprint == holdout.card.fingerprint


def test_one_episode_cannot_be_split() -> None:
    with pytest.raises(ValueError, match="one episode"):
        split_episodes(episodes([5], [True]), 0.5)


def test_take_keeps_chosen_episodes_and_renames_content() -> None:
    data = episodes([2, 3, 1], [True, False, False])
    part = take(data, np.array([0, 2]))
    assert part.rew.tolist() == [1, 2, 6]
    assert part.offsets.tolist() == [0, 2, 3]
    assert part.card.fingerprint != data.card.fingerprint


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


def test_discount_is_zero_after_termination_only() -> None:
    segments = real_segments(episodes([2, 2], [True, False]), 0.9)
    torch.testing.assert_close(segments.discount, torch.tensor([[0.9], [0.0], [0.9], [0.9]]))
    assert segments.obs[1].tolist() == [[1, 0], [1, 1]]
    assert segments.rew.flatten().tolist() == [1, 2, 3, 4]
    assert segments.act.shape == (4, 1, 1)
    assert segments.source.tolist() == [0] * 4
    assert segments.penalty.tolist() == [[0]] * 4


def test_rows_without_next_state_are_dropped_unless_terminated() -> None:
    segments = real_segments(episodes([2, 2], [True, False], with_next=False), 0.9)
    assert segments.rew.flatten().tolist() == [1, 2, 3]


def test_next_action_is_the_recorded_one_within_an_episode() -> None:
    data = episodes([3, 2], [True, False])
    rows, shape = fused_rows(data, 0.9, torch.device("cpu"), True)
    next_act = shape.split(rows).next_act
    assert next_act is not None
    expected = torch.from_numpy(data.act[[1, 2, 2, 4, 4]])
    expected[[2, 4]] = torch.nan  # the episodes' last transitions
    torch.testing.assert_close(next_act, expected, rtol=0, atol=0, equal_nan=True)
    assert real_segments(data, 0.9).next_act is None


@pytest.mark.parametrize("ratio", [0.01, 0.2, 0.99])
def test_the_last_parts_of_a_single_episode_are_held_out_for_estimates(ratio: float) -> None:
    data = episodes([97], [True])
    parts, train, holdout = split_for_estimates(data, ratio)
    assert parts.num_episodes == PARTS
    assert [*train, *holdout] == list(range(PARTS))
    assert len(holdout) == {0.01: 1, 0.2: 4, 0.99: 19}[ratio]
    assert data.num_episodes == 1
    assert np.diff(parts.offsets).min() >= 4
    with pytest.raises(ValueError, match="one episode cannot be split"):
        split_for_estimates(episodes([PARTS - 1], [True]), ratio)

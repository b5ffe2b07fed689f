import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from recordings import episodes

from dwm_ray.data.statistics import return_to_go
from dwm_ray.data.windows import WindowSet

GAMMA = 0.9


def test_window_at_an_episode_end_by_hand() -> None:
    data = episodes([3, 2], [True, False])
    windows = WindowSet(data, 4, GAMMA, rtg_scale=2.0).gather(torch.tensor([1, 3]))
    assert windows.obs.tolist() == [[[1, 0], [2, 0], [2, 1], [2, 1]], [[3, 0], [4, 0], [4, 1], [4, 1]]]
    assert windows.rew.tolist() == [[2, 3, 3, 3], [4, 5, 5, 5]]
    torch.testing.assert_close(windows.act[..., 0], torch.tensor([[1, 2, 2, 2], [3, 4, 4, 4]]) / 5.0)
    assert windows.obs_mask.tolist() == [[True, True, True, False]] * 2
    assert windows.step_mask.tolist() == [[True, True, False, False]] * 2
    assert windows.terminated.tolist() == [[False, True, False, False], [False] * 4]
    torch.testing.assert_close(windows.rtg, torch.tensor([(2 + GAMMA * 3) / 2, (4 + GAMMA * 5) / 2]))


def test_unknown_last_state_is_not_in_any_window() -> None:
    windows = WindowSet(episodes([3, 2], [True, False], with_next=False), 3, GAMMA, 1.0).gather(torch.tensor([1]))
    assert windows.obs.tolist() == [[[1, 0], [2, 0], [2, 0]]]
    assert windows.obs_mask.tolist() == windows.step_mask.tolist() == [[True, True, False]]


@given(
    lengths=st.lists(st.integers(1, 7), min_size=1, max_size=5),
    length=st.integers(1, 9),
    with_next=st.booleans(),
    kind=st.sampled_from(["episode", "window"]),
)
def test_windows_match_a_plain_loop(lengths: list[int], length: int, with_next: bool, kind: str) -> None:
    data = episodes(lengths, [i % 2 == 0 for i in range(len(lengths))], with_next)
    windows = WindowSet(data, length, GAMMA, 1.0, kind).gather(torch.arange(data.num_transitions))
    ends = np.repeat(data.offsets[1:], lengths)
    for start in range(data.num_transitions):
        rows = np.arange(start, min(start + length, ends[start]))
        states = list(data.obs[rows])
        if with_next and len(rows) < length:
            states.append(data.next_obs[rows[-1]])
        assert windows.obs_mask[start].sum() == len(states)
        assert windows.step_mask[start].sum() == len(rows)
        padded = states + [states[-1]] * (length - len(states))
        np.testing.assert_array_equal(windows.obs[start], padded)
        np.testing.assert_array_equal(windows.rew[start, : len(rows)], data.rew[rows])
        np.testing.assert_array_equal(windows.act[start, : len(rows)], data.act[rows])
        np.testing.assert_array_equal(windows.terminated[start, : len(rows)], data.terminated[rows])
        assert not windows.terminated[start, len(rows) :].any()
        expected = return_to_go(data, GAMMA)[start]
        if kind == "window":
            expected = (data.rew[rows] * GAMMA ** np.arange(len(rows))).sum()
        assert windows.rtg[start].item() == pytest.approx(expected, rel=1e-4)


def test_sample_repeats_with_its_seed_and_reaches_every_row() -> None:
    windows = WindowSet(episodes([6, 4], [False, False]), 2, GAMMA, 1.0)
    assert windows.num_windows == 10
    first = windows.sample(200, torch.Generator().manual_seed(3))
    again = windows.sample(200, torch.Generator().manual_seed(3))
    assert torch.equal(first.obs, again.obs)
    assert set(first.obs[:, 0, 0].tolist()) == set(range(10))


def test_states_scaled_once_are_those_of_each_window_and_the_set_itself_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dwm_ray.data.windows.STATES_PER_CALL", 4)
    plain = WindowSet(episodes([6, 4], [True, False]), 3, GAMMA, 1.0)
    calls: list[int] = []

    def squared(states: torch.Tensor) -> torch.Tensor:
        calls.append(len(states))
        return states.square()

    windows = plain.scaled(squared).gather(torch.arange(10))
    assert torch.equal(windows.scaled, windows.obs.square())
    assert sum(calls) == 12
    assert max(calls) == 4
    assert torch.equal(windows[2:4].scaled, windows.scaled[2:4])
    assert plain.gather(torch.arange(10)).scaled is None


def test_bad_arguments_are_refused() -> None:
    data = episodes([3], [False])
    with pytest.raises(ValueError, match="sequence_length"):
        WindowSet(data, 0, GAMMA, 1.0)
    with pytest.raises(ValueError, match="rtg_scale"):
        WindowSet(data, 2, GAMMA, 0.0)

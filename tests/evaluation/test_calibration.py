"""Calibration on recordings whose ends and rewards are known by construction."""

import json

import numpy as np
import pytest
import torch

from dwm_ray.data.windows import WindowSet
from dwm_ray.evaluation.calibration import MIN_ENDS, calibration, compared
from dwm_ray.types import DataCard, Episodes, Json, Segments, Spaces, Windows


def episodes(*kinds: tuple[int, bool]) -> Episodes:
    """Episodes of (length, terminated); the reward at position i of an episode is i + 1."""
    last = np.concatenate([np.arange(n) == n - 1 for n, _ in kinds])
    ends = np.concatenate([np.full(n, terminated) for n, terminated in kinds])
    position = np.concatenate([np.arange(n) for n, _ in kinds]).astype(np.float32)
    return Episodes(
        obs=position[:, None],
        act=position[:, None],
        rew=position + 1,
        next_obs=position[:, None] + 1,
        terminated=last & ends,
        truncated=last & ~ends,
        known_next=np.ones(len(last), bool),
        card=DataCard("count", "test", "", "Count-v0", "0" * 16),
        spaces=Spaces(1, 1, (-1.0,), (1.0,)),
    )


def windows_of(data: Episodes, steps: int) -> Windows:
    every = WindowSet(data, steps + 1, discount=0.99, rtg_scale=1.0)
    return every.gather(torch.arange(every.num_windows))


def segments_like(windows: Windows, discount: torch.Tensor, rew: torch.Tensor | None = None) -> Segments:
    """Segments with the windows' states and, by default, rewards; `discount` [H] or [B, H]."""
    horizon = windows.obs.shape[1] - 1
    rew = windows.rew[:, :horizon] if rew is None else rew
    discount = discount.expand(rew.shape)
    return Segments(windows.obs, windows.act[:, :1], rew, discount, 0 * rew, rew.new_ones(len(rew)))


def recorded_future(windows: Windows) -> Segments:
    return segments_like(windows, (windows.terminated[:, :-1].cumsum(1) == 0).float())


def test_golden_curves_without_truncation() -> None:
    # Windows start at positions 0, 1, 2 of an episode of 3 steps: they end in step 3, 2, 1.
    found = calibration([(w := windows_of(episodes((3, True)), 3), recorded_future(w))])
    assert found["recorded"]["ended"] == pytest.approx([1 / 3, 2 / 3, 1.0])
    assert found["recorded"]["reward"] == pytest.approx([2.0, 2.5, 3.0])
    assert found["recorded"]["num_ends"] == [1, 2, 3]
    assert found["reward_unit"] == pytest.approx((1 + 2 + 3 + 2 + 3 + 3) / 6)


def test_steps_after_a_truncation_are_neither_alive_nor_ended() -> None:
    # One episode ends after 2 steps, one stops being recorded after 2. Step 1: 4 alive, 1 ends. Step 2: 2 alive (the
    # starts of both episodes), 1 ends. Survival is 3/4 * 1/2; nothing is known about step 3.
    found = calibration([(w := windows_of(episodes((2, True), (2, False)), 3), recorded_future(w))])
    assert found["recorded"]["ended"] == pytest.approx([1 / 4, 5 / 8])
    assert found["recorded"]["reward"] == pytest.approx([1.5, 2.0])
    assert found["num_windows"] == 4


@pytest.mark.parametrize("kinds", [[(30, True)], [(9, True), (30, False), (17, True)], [(40, False)]])
def test_a_model_that_returns_the_recorded_future_is_calibrated(kinds: list[tuple[int, bool]]) -> None:
    windows = windows_of(episodes(*kinds, *kinds), 31)
    found = calibration([(windows[:5], recorded_future(windows[:5])), (windows[5:], recorded_future(windows[5:]))])
    assert found["imagined"] == found["recorded"]
    assert found["rewards_difference"] == 0.0
    assert found["ends_difference"] == (0.0 if kinds[0][1] else None)  # no end: nothing to compare


def test_a_model_that_never_ends_shows_it() -> None:
    windows = windows_of(episodes((30, True), (30, True)), 15)
    found = calibration([(windows, segments_like(windows, torch.ones(15)))])
    assert found["imagined"]["ended"] == [0.0] * 15
    assert found["recorded"]["ended"] == pytest.approx([h / 30 for h in range(1, 16)])
    assert found["ends_difference"] == pytest.approx(1.0)
    assert found["ends_agree"] is False


def test_a_model_that_ends_at_once_has_no_later_rewards() -> None:
    windows = windows_of(episodes((30, False), (30, False)), 4)
    found = calibration([(windows, segments_like(windows, torch.zeros(4)))])
    assert found["imagined"]["ended"] == [1.0] * 4
    assert found["imagined"]["reward"] == [pytest.approx(15.5), None, None, None]
    assert found["recorded"]["ended"] == [0.0] * 4
    assert found["ends_difference"] == pytest.approx(60.0)  # relative to one of 60 windows
    assert json.loads(json.dumps(found)) == found


def test_rewards_are_compared_relative_to_their_recorded_size() -> None:
    windows = windows_of(episodes((400, False)), 2)
    rew = windows.rew[:, :2] + torch.tensor([0.0, 3.0])
    found = calibration([(windows, segments_like(windows, torch.ones(2), rew))])
    assert found["rewards_difference"] == pytest.approx(3.0 / found["reward_unit"], rel=1e-4)
    assert found["rewards_agree"] is False
    assert calibration([(windows, segments_like(windows, torch.ones(2), rew - 2))])["rewards_difference"] < 0.01


def curves(ends: list[int], num: int) -> Json:
    return {"ended": [count / num for count in ends], "reward": [1.0] * len(ends), "num_ends": ends}


def test_shares_of_too_few_ends_are_not_compared() -> None:
    few, many = MIN_ENDS - 1, 4 * MIN_ENDS
    found = compared(1000, curves([0, many], 1000), curves([few, 3 * MIN_ENDS], 1000), 1.0)
    assert found["ends_difference"] == pytest.approx(1 / 3)
    assert compared(1000, curves([0], 1000), curves([few], 1000), 1.0)["ends_agree"] is None

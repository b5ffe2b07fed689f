"""Which points a future has at which step, and how far two sets of futures are apart."""

import numpy as np
import pytest
import torch

from dwm_ray.evaluation.futures import Scale, distances, recorded_futures, segment_futures, squared_distance
from dwm_ray.types import Segments, Windows

SCALE = Scale(torch.tensor([2.0, torch.inf]), torch.tensor([0.5]), 4.0)


def segments(num: int, horizon: int, num_actions: int, discount: torch.Tensor | None = None) -> Segments:
    obs = torch.arange(num * (horizon + 1) * 2, dtype=torch.float32).view(num, horizon + 1, 2)
    rew = torch.ones(num, horizon)
    act = torch.ones(num, num_actions, 1)
    return Segments(obs, act, 8 * rew, rew if discount is None else discount, 0 * rew, rew[:, 0])


def test_points_are_in_standard_deviations_and_a_constant_dimension_counts_as_nothing():
    futures = segment_futures(segments(3, 2, 2), SCALE)
    states = futures.points("states", 2)
    assert states.tolist() == [[2.0, 0.0], [5.0, 0.0], [8.0, 0.0]]  # obs 4, 10, 16
    assert futures.points("rewards", 1).tolist() == [[2.0]] * 3
    assert futures.points("state-actions", 1).tolist() == [[0.0, 0.0, 2.0], [3.0, 0.0, 2.0], [6.0, 0.0, 2.0]]


def test_actions_that_are_not_known_give_no_points():
    futures = segment_futures(segments(3, 2, 1), SCALE)
    assert futures.points("state-actions", 1) is not None
    assert futures.points("state-actions", 2) is None


def test_the_state_that_ends_the_task_is_the_last_point():
    discount = torch.tensor([[1.0, 1.0, 1.0], [0.0, 0.0, 0.0], [1.0, 0.0, 0.0]])
    futures = segment_futures(segments(3, 3, 3, discount), SCALE)
    assert [len(futures.points("states", step)) for step in (1, 2, 3)] == [3, 2, 1]
    assert [len(futures.points("rewards", step)) for step in (1, 2, 3)] == [3, 2, 1]


def test_recorded_futures_have_points_where_something_was_recorded():
    obs_mask = torch.tensor([[True, True, True], [True, True, False], [True, False, False]])
    step_mask = torch.tensor([[True, True, True], [True, False, False], [True, False, False]])
    windows = Windows(
        torch.zeros(3, 3, 2), torch.zeros(3, 3, 1), torch.zeros(3, 3), obs_mask, step_mask, ~obs_mask, torch.zeros(3)
    )
    futures = recorded_futures(windows, SCALE)
    assert futures.horizon == 2
    assert [len(futures.points("states", step)) for step in (1, 2)] == [2, 1]
    assert [len(futures.points("rewards", step)) for step in (1, 2)] == [3, 1]


def test_squared_distance_is_the_mean_over_dimensions_of_rows_that_both_reach():
    discount = torch.tensor([[1.0, 1.0], [0.0, 0.0]])
    first, second = segment_futures(segments(2, 2, 1), SCALE), segment_futures(segments(2, 2, 1, discount), SCALE)
    moved = segment_futures(segments(2, 2, 1), SCALE)
    moved.obs[0] += torch.tensor([2.0, 0.0])
    moved.obs[1] += torch.tensor([4.0, 0.0])
    assert squared_distance(first, moved) == pytest.approx([(4 + 16) / 2 / 2] * 2)
    assert squared_distance(second, moved) == pytest.approx([(4 + 16) / 2 / 2, 4 / 2])


def test_distances_cover_the_steps_that_have_enough_points():
    rng = np.random.default_rng(0)
    obs = torch.from_numpy(rng.standard_normal((60, 3, 2)).astype(np.float32))
    ended = torch.ones(60, 2)
    ended[10:, 0] = 0
    first = segment_futures(segments(60, 2, 1), SCALE)
    some = Segments(obs, torch.ones(60, 1, 1), ended, torch.cumprod(ended, 1), ended, ended[:, 0])
    rows = distances(segment_futures(some, SCALE), first, "states", torch.Generator().manual_seed(0), 10)
    assert [row.step for row in rows] == [1]  # ten are left at step 2
    assert rows[0].energy.value > rows[0].energy.floor
    assert distances(first, first, "state-actions", torch.Generator().manual_seed(0), 0)[0].energy.value < 0


def test_scale_is_the_deviation_of_the_data():
    obs, act = np.array([[0.0, 5.0], [2.0, 5.0]], np.float32), np.array([[1.0], [3.0]], np.float32)
    scale = Scale.of(obs, act, np.array([0.0, 6.0]), torch.device("cpu"))
    assert scale.obs.tolist() == [1.0, float("inf")]
    assert scale.act.tolist() == [1.0]
    assert scale.rew == 3.0

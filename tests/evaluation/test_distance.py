"""Distances between sets, against plain loops and closed forms."""

import math

import numpy as np
import pytest
import torch

from dwm_ray.evaluation.distance import kl_divergence, mmd
from dwm_ray.evaluation.futures import Scale, distances, recorded_futures, segment_futures, squared_distance
from dwm_ray.types import Segments, Windows


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def normal(num: int, size: int, shift: float = 0.0, scale: float = 1.0, seed: int = 0) -> torch.Tensor:
    return torch.randn(num, size, generator=seeded(seed)) * scale + shift


def apart(first: np.ndarray, second: np.ndarray) -> float:
    return math.sqrt(float(((first - second) ** 2).sum()))


def u_statistic(x: np.ndarray, y: np.ndarray, of) -> float:
    """Means over pairs by loops: within x + within y - 2 across."""
    within = [
        sum(of(a, b) for i, a in enumerate(points) for j, b in enumerate(points) if i != j)
        / (len(points) * (len(points) - 1))
        for points in (x, y)
    ]
    across = sum(of(a, b) for a in x for b in y) / (len(x) * len(y))
    return sum(within) - 2 * across


def mmd_kernel(pooled: np.ndarray):
    """Gaussian kernel whose width is the median distance of the pooled points."""
    median = np.median([apart(a, b) for i, a in enumerate(pooled) for b in pooled[:i]])
    return lambda a, b: math.exp(-(apart(a, b) ** 2) / (2 * median**2))


def test_mmd_and_its_floor_are_those_of_plain_loops():
    x, y, shuffles = normal(20, 2), normal(14, 2, 0.3, seed=1), seeded(5)  # 561 pairs: the median is one of them
    got = mmd(x, y, seeded(5), 40)
    pooled = torch.cat([x, y]).double().numpy()
    kernel = mmd_kernel(pooled)
    assert got["value"] == pytest.approx(u_statistic(pooled[:20], pooled[20:], kernel), rel=1e-9)
    values = []
    for _ in range(40):
        labels = torch.randperm(34, generator=shuffles).numpy() < 20
        values.append(u_statistic(pooled[labels], pooled[~labels], kernel))
    assert got["floor"] == pytest.approx(np.quantile(values, 0.95), rel=1e-6)
    assert got["p_value"] == pytest.approx((1 + sum(value >= got["value"] for value in values)) / 41)


def test_equal_distributions_stay_below_the_floor_and_different_ones_do_not():
    same = mmd(normal(200, 4), normal(200, 4, seed=1), seeded())
    other = mmd(normal(200, 4), normal(200, 4, 0.5, seed=1), seeded())
    assert same["value"] < same["floor"]
    assert same["p_value"] > 0.05
    assert other["value"] > 3 * other["floor"]
    assert other["p_value"] == pytest.approx(1 / 101)  # the given labels are one of 101


def test_the_estimate_is_unbiased():
    values = [mmd(normal(12, 2, seed=2 * i), normal(12, 2, seed=2 * i + 1), seeded(), 0)["value"] for i in range(200)]
    assert abs(np.mean(values)) < 3 * np.std(values) / math.sqrt(len(values))


def test_kl_is_wangs_estimator():
    x, y, k = normal(9, 2).double().numpy(), normal(7, 2, 0.5, seed=1).double().numpy(), 2
    total = 0.0
    for i, point in enumerate(x):
        within = sorted(apart(point, other) for j, other in enumerate(x) if j != i)[k - 1]
        across = sorted(apart(point, other) for other in y)[k - 1]
        total += math.log(across / within)
    expected = 2 / 9 * total + math.log(7 / 8)
    assert kl_divergence(torch.from_numpy(x), torch.from_numpy(y), k) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(("shift", "scale"), [(0.0, 1.0), (1.0, 1.0), (0.0, 0.5)])
def test_kl_of_normals_is_near_its_closed_form(shift, scale):
    expected = 0.5 * (scale**2 + shift**2 - 1) - math.log(scale)
    got = kl_divergence(normal(2000, 1, shift, scale), normal(2000, 1, seed=1))
    assert got == pytest.approx(expected, abs=0.1)


def test_kl_of_points_that_coincide_is_finite():
    x = torch.zeros(10, 2)
    assert kl_divergence(x, x, 3) == pytest.approx(math.log(10 / 9))


@pytest.mark.parametrize(("x", "y"), [((1, 2), (5, 2)), ((5, 2), (5, 3))])
def test_sets_that_cannot_be_compared_are_refused(x, y):
    with pytest.raises(ValueError, match="2 points each, of one size"):
        mmd(torch.zeros(x), torch.zeros(y), seeded())


def test_too_few_points_for_the_neighbours_are_refused():
    with pytest.raises(ValueError, match="too few for 5"):
        kl_divergence(normal(5, 2), normal(50, 2))


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
    assert [row["step"] for row in rows] == [1]  # ten are left at step 2
    assert rows[0]["mmd"]["value"] > rows[0]["mmd"]["floor"]
    assert distances(first, first, "state-actions", torch.Generator().manual_seed(0), 0)[0]["mmd"]["value"] < 0


def test_scale_is_the_deviation_of_the_data():
    obs, act = np.array([[0.0, 5.0], [2.0, 5.0]], np.float32), np.array([[1.0], [3.0]], np.float32)
    scale = Scale.of(obs, act, np.array([0.0, 6.0]), torch.device("cpu"))
    assert scale.obs.tolist() == [1.0, float("inf")]
    assert scale.act.tolist() == [1.0]
    assert scale.rew == 3.0

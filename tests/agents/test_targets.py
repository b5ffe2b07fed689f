"""Critic targets: golden returns, padding, bootstrap states, clipping range; weights of the critic's errors."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from agent_problems import STATS, rng, segments
from hypothesis import given
from hypothesis import strategies as st

from dwm_ray.agents.base import CriticConfig
from dwm_ray.agents.parts.targets import TargetRule, critic_errors, lambda_return, target_range
from dwm_ray.types import Segments

REW = torch.tensor([[1.0, 2.0, 3.0]])
VALUES = torch.tensor([[10.0, 20.0, 30.0]])
LAMBDAS = st.sampled_from([0.0, 0.3, 0.95, 1.0])


def rule(**options: object) -> TargetRule:
    return TargetRule.of(CriticConfig(**options), STATS, 0.9, reward_scale=2.0)


@pytest.mark.parametrize(
    ("lam", "discount", "golden"),
    [
        (0.0, (0.9, 0.9, 0.9), 1 + 0.9 * 10),
        (0.5, (0.9, 0.9, 0.9), 16.525),  # G_2 = 3 + .9*30 = 30; G_1 = 2 + .9*(10 + 15) = 24.5; G_0 = 1 + .9*(5 + 12.25)
        (1.0, (0.9, 0.9, 0.9), 1 + 0.9 * (2 + 0.9 * (3 + 0.9 * 30))),
        (0.0, (0.5,), 6.0),  # one step is TD for every lambda
        (0.7, (0.5,), 6.0),
        (1.0, (0.5,), 6.0),
        (0.0, (0.9, 0.0, 0.0), 1 + 0.9 * 10),  # nothing counts after the termination
        (0.5, (0.9, 0.0, 0.0), 1 + 0.9 * (5 + 1)),
        (1.0, (0.9, 0.0, 0.0), 1 + 0.9 * 2),
    ],
)
def test_golden_returns(lam: float, discount: tuple[float, ...], golden: float) -> None:
    steps = len(discount)
    target = lambda_return(REW[:, :steps], torch.tensor([discount]), VALUES[:, :steps], lam)
    assert target.item() == pytest.approx(golden, rel=1e-6)


def recursion(rew: np.ndarray, discount: np.ndarray, values: np.ndarray, lam: float) -> np.ndarray:
    """Compute the definition backwards in double precision."""
    total = values[:, -1]
    for h in reversed(range(rew.shape[1])):
        total = rew[:, h] + discount[:, h] * ((1 - lam) * values[:, h] + lam * total)
    return total


@given(seed=st.integers(0, 10_000), horizon=st.integers(1, 12), lam=LAMBDAS)
def test_agrees_with_the_recursion(seed: int, horizon: int, lam: float) -> None:
    rng = np.random.default_rng(seed)
    rew, values = rng.normal(size=(2, 4, horizon))
    discount = rng.choice([0.0, 0.9, 1.0], size=(4, horizon))
    got = lambda_return(torch.from_numpy(rew), torch.from_numpy(discount), torch.from_numpy(values), lam)
    np.testing.assert_allclose(got.numpy(), recursion(rew, discount, values, lam), rtol=1e-9, atol=1e-9)


@given(seed=st.integers(0, 10_000), horizon=st.integers(1, 5), extra=st.integers(0, 5), lam=LAMBDAS)
def test_padding_leaves_the_target_unchanged(seed: int, horizon: int, extra: int, lam: float) -> None:
    rows = segments(8, horizon, seed=seed)
    weights = torch.randn(3, generator=rng(seed))  # any function of the state is a value
    padding = rule(return_lambda=lam, target_clip="none")

    def target(part: Segments) -> torch.Tensor:
        return padding(part, padding.bootstrap_obs(part) @ weights)[0]

    torch.testing.assert_close(target(rows.padded(horizon + extra)), target(rows), rtol=1e-5, atol=1e-5)


def test_bootstrap_states() -> None:
    rows = segments(4, 3)
    assert torch.equal(rule(return_lambda=1.0).bootstrap_obs(rows), rows.obs[:, 3])
    assert torch.equal(rule(return_lambda=0.9).bootstrap_obs(rows), rows.obs[:, 1:].flatten(0, 1))


def test_values_of_the_wrong_shape_are_refused() -> None:
    with pytest.raises(ValueError, match=r"values are \[1, 1\]; expected \[1, 3\]"):
        lambda_return(REW, torch.ones(1, 3), VALUES[:, -1:], 0.5)


def test_range_contains_every_return_of_the_data_and_an_immediate_termination() -> None:
    assert target_range(STATS, 0.9) == pytest.approx((-50.0, 50.0))
    assert target_range(replace(STATS, rew_min=1.0, rew_max=2.0), 0.9) == pytest.approx((0.0, 20.0))


def test_clipped_targets_are_counted() -> None:
    rows = segments(4, 1)
    values = torch.tensor([1e6, -1e6, 1.0, 1e6])  # the last row's task ended, so its value does not count
    target, clipped = rule()(rows, values)
    assert target[:2].tolist() == pytest.approx([100.0, -100.0])  # twice the range: rewards are scaled
    assert clipped.item() == 0.5
    unclipped, none = rule(target_clip="none")(rows, values)
    assert none.item() == 0
    assert unclipped[0] > 9e5


def test_penalties_lower_targets_also_where_no_reward_is_negative() -> None:
    stats = replace(STATS, rew_min=0.0, rew_max=1.0)
    rows = replace(segments(4, 1), rew=torch.full((4, 1), 0.5), penalty=torch.full((4, 1), 30.0))
    penalised = TargetRule.of(CriticConfig(penalty_weight=1.0), stats, 0.9)
    target, clipped = penalised(rows, torch.tensor([0.0, -100.0, 1e6, 0.0]))
    assert target[:2].tolist() == pytest.approx([-29.5, -29.5 - 99.0])
    assert target[2] == 10.0  # the upper bound remains
    assert clipped.item() == 0.25


def test_golden_cut_before_the_first_uncertain_step() -> None:
    rows = replace(segments(4, 3), source=torch.tensor([1.0, 1.0, 2.0, 0.0]))
    penalty = [[1.0, 2.0, 1.0], [2.0, 4.1, 0.0], [3.0, 1.0, 4.1], [0.0, 9.0, 9.0]]  # mean over imagined first steps: 2
    rows = replace(rows, penalty=torch.tensor(penalty))
    cut = rule(max_penalty_ratio=2.0).cut(rows)
    for row, steps in enumerate((3, 1, 2, 1)):
        expected = rows[row : row + 1].prefix(steps).padded(3)
        for name in ("obs", "rew", "discount", "penalty"):
            assert torch.equal(getattr(cut, name)[row], getattr(expected, name)[0]), (row, name)
    assert rule().cut(rows) is rows
    population = rule(max_penalty_ratio=2.0).cut(rows.map(lambda part: torch.stack([part, part])))
    assert torch.equal(population.obs[1], cut.obs)


def test_shift_changes_every_reward_but_those_of_padding() -> None:
    stats = replace(STATS, rew_min=0.0, rew_max=1.0)
    shifted = TargetRule.of(CriticConfig(), stats, 0.9, reward_scale=2.0, reward_shift=-1.0)
    rows = replace(segments(4, 2), rew=torch.tensor([[0.0, 1.0]]).repeat(4, 1), discount=torch.full((4, 2), 0.9))
    for part in (rows, rows.padded(5)):
        target, clipped = shifted(part, torch.tensor([0.0, -5.0, -1e6, 1e6]))
        assert target.tolist() == pytest.approx([-2.0, -2.0 - 0.81 * 5, -20.0, 0.0])  # -1 per step, forever, times 2
        assert clipped.item() == 0.5


def test_penalty_and_scale_change_rewards() -> None:
    rows = segments(4, 1)
    target, _ = rule(penalty_weight=0.5)(rows, torch.zeros(4))
    torch.testing.assert_close(target, 2 * (rows.rew - 0.5 * rows.penalty)[:, 0])


Q = torch.tensor([[3.0, 1.0, 3.0, 1.0], [2.0, 5.0, 2.0, 5.0]])
TARGET = torch.full((4,), 2.0)
SOURCE = torch.tensor([1.0, 7.0, 0.0, 0.0])


def test_golden_weights_of_imagined_and_recorded_rows() -> None:
    errors = critic_errors(Q, TARGET, SOURCE, 0.1)
    torch.testing.assert_close(errors, torch.tensor([[1.8, 0.2, 1.0, 1.0], [0.0, 9 * 1.8, 0.0, 9.0]]))


def test_one_half_is_the_squared_error_bit_for_bit() -> None:
    q, target = torch.randn(2, 64), torch.randn(64)
    plain = (q - target).square()
    assert torch.equal(critic_errors(q, target, torch.ones(64), 0.5), plain)
    members = critic_errors(q.expand(2, 2, 64), target.expand(2, 64), torch.ones(2, 64), torch.full((2, 1, 1), 0.5))
    assert torch.equal(members, plain.expand(2, 2, 64))


@pytest.mark.parametrize("expectile", [0.1, 0.5, 0.9])
def test_minimum_is_the_expectile_of_the_targets(expectile: float) -> None:
    """Targets are 0 and 1 with equal weights: the expectile itself is the minimum."""
    target, q = torch.tensor([0.0, 1.0]), torch.tensor([[0.3, 0.3]], requires_grad=True)
    for _ in range(200):
        [grad] = torch.autograd.grad(critic_errors(q, target, torch.ones(2), expectile).sum(), q)
        q = (q - 0.1 * grad.mean(1, keepdim=True)).detach().requires_grad_()
    assert q[0, 0].item() == pytest.approx(expectile, abs=1e-4)

"""CQL: density of the policy, samples of the conservative term, entropy in targets only on request."""

import math

import pytest
import torch
from agent_problems import SPACES, UNIT, build, rng, segments

from dwm_ray.agents.parts.networks import squashed


def test_golden_density_of_a_squashed_gaussian() -> None:
    act, log_prob = squashed(torch.tensor([[0.3]]), torch.tensor([[-1.0]]), torch.tensor([[0.5]]))
    x = 0.3 + 0.5 / math.e
    normal = math.exp(-(0.5**2) / 2) / (math.sqrt(2 * math.pi) / math.e)
    assert act.item() == pytest.approx(math.tanh(x), rel=1e-6)
    assert log_prob.item() == pytest.approx(math.log(normal / (1 - math.tanh(x) ** 2)), rel=1e-5)
    _, saturated = squashed(torch.tensor([[40.0]]), torch.tensor([[0.0]]), torch.zeros(1, 1))
    assert saturated.isfinite()


def test_entropy_counts_in_targets_on_request_but_not_after_a_termination() -> None:
    rows = segments(4, 2, UNIT)  # the last row ends
    plain, soft = (build("cql", target_clip="none", entropy_backup=flag) for flag in (False, True))
    _, log_prob = soft._sample(soft.scaling.obs(rows.obs[:, -1]), rng(2))
    expected = plain._targets(rows, rng(2))[0] - 0.99**2 * log_prob * torch.tensor([1, 1, 1, 0])
    torch.testing.assert_close(soft._targets(rows, rng(2))[0], expected)


def test_conservative_sum_estimates_the_integral_over_all_actions() -> None:
    """The mean of one over the density is the volume of the actions, 2^A, for every source of actions."""
    agent = build("cql", num_sampled_actions=5000)
    for param in agent.actor.parameters():
        param.data.zero_()
    agent.actor.body.biases[-1].data[0, 0, 2:] = 0.8  # a deviation that reaches every action
    rows = segments(4, 1, UNIT)
    act, density = agent._samples(rows, agent.actor(agent.scaling.obs(rows.obs[:, 0])), rng())
    assert act.shape == (4, 15_000, 2)
    volume = (-density).exp().view(4, 3, 5000).mean((0, 2))
    torch.testing.assert_close(volume, torch.full((3,), 4.0), rtol=0.05, atol=0)


def test_sampled_actions_depend_on_the_state_after_the_first_step_only() -> None:
    """A longer segment samples at s_{t+1}, not at its bootstrap state."""
    agent, rows = build("cql"), segments(8, 3, UNIT)
    policy = agent.actor(agent.scaling.obs(rows.obs[:, 0]))
    long, short = (agent._samples(x, policy, rng())[0] for x in (rows, rows.prefix(1)))
    assert torch.equal(long, short)


def test_conservative_term_holds_the_data_above_other_actions() -> None:
    rows, gaps = segments(64, 1, UNIT), []
    rows.act.fill_(0.8)
    for weight in (0.0, 10.0):
        agent = build("cql", conservative_weight=weight, critic_learning_rate=3e-3, num_sampled_actions=3)
        noise = rng()
        metrics = [agent.update(rows, noise) for _ in range(40)]
        gaps.append(metrics[-1]["conservative_gap"].item())
    assert gaps[1] < gaps[0] - 1


def test_explores_with_a_sample_and_acts_with_the_mode() -> None:
    agent = build("cql", SPACES)
    obs = torch.randn(500, 3, generator=rng())
    unit = agent.scaling.unit(agent.explore(obs, rng())) - agent.scaling.unit(agent.act(obs))
    assert 0.15 < unit.std().item() < 0.5  # the untrained deviation is about 1 / e before squashing
    assert abs(unit.mean().item()) < 0.05

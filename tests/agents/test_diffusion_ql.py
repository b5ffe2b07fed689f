"""Diffusion-QL: averaged policy, gradients through the chain, choice among candidates."""

import copy

import torch
from agent_problems import SPACES, UNIT, build, rng, segments
from torch import Tensor, nn

from dwm_ray.agents.diffusion_ql import DiffusionQL


def test_averaged_policy_waits_for_its_start() -> None:
    agent = build("diffusion_ql", ema_start=3, ema_every=1)
    before = copy.deepcopy(agent.target_actor.state_dict())
    moved = []
    for _ in range(4):
        agent.update(segments(spaces=UNIT), rng())
        after = agent.target_actor.state_dict()
        moved.append(any(not torch.equal(after[key], value) for key, value in before.items()))
    assert moved == [False, False, False, True]


def test_the_critic_trains_every_step_of_the_chain() -> None:
    policy = build("diffusion_ql").actor
    calls: list[Tensor] = []

    def collect(module: nn.Module, args: object, out: Tensor) -> None:
        out.retain_grad()
        calls.append(out)

    policy.body.register_forward_hook(collect)
    policy.sample(torch.randn(16, 3, generator=rng()), (16, 1, 2), rng()).sum().backward()
    assert len(calls) == 5
    assert all(out.grad is not None and out.grad.abs().sum() > 0 for out in calls)


def prefer_largest_first_action(agent: DiffusionQL) -> None:
    """Make the target Q of both networks increase with the first entry of the action."""
    body = agent.target_critic.body
    for weight, bias in zip(body.weights, body.biases, strict=True):
        weight.data.zero_()
        bias.data.zero_()
        weight.data[:, 0, 0] = 1.0
    body.weights[0].data[:, 0, 0] = 0.0
    body.weights[0].data[:, agent.spaces.obs_size, 0] = 1.0


def test_acts_with_the_best_candidate() -> None:
    obs = torch.randn(6, 3, generator=rng())
    agent = build("diffusion_ql", SPACES, num_candidates=20)
    prefer_largest_first_action(agent)
    candidates = agent.actor.sample(agent.scaling.obs(obs), (20, 2), rng())
    best = torch.stack([row[row[:, 0].argmax()] for row in candidates])
    torch.testing.assert_close(agent.act(obs), agent.scaling.raw(best))


def test_an_action_does_not_depend_on_the_rest_of_the_batch() -> None:
    agent, obs = build("diffusion_ql", SPACES), torch.randn(6, 3)
    torch.testing.assert_close(agent.act(obs)[3:4], agent.act(obs[3:4]))


def test_more_target_actions_raise_the_bootstrap() -> None:
    rows = segments(64, 1, UNIT)
    one, many = (build("diffusion_ql", target_clip="none", num_target_actions=num) for num in (1, 30))
    assert many._targets(rows, rng())[0].mean() > one._targets(rows, rng())[0].mean()


def test_explores_with_one_sample_of_the_averaged_policy() -> None:
    agent, obs = build("diffusion_ql", SPACES), torch.randn(4, 3)
    first = agent.explore(obs, rng())
    assert not torch.equal(first, agent.explore(obs, rng(1)))
    for policy, same in ((agent.actor, True), (agent.target_actor, False)):
        for param in policy.parameters():
            param.data.zero_()
        assert torch.equal(first, agent.explore(obs, rng())) is same

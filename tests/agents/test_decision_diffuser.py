"""Decision Diffuser: plans with the documented arguments, acts towards them, holds the model's weights."""

from typing import Any

import pytest
import torch
from agent_problems import SPACES, UNIT, build, rng, segments
from torch import Tensor, nn

from dwm_ray.config import RunConfig
from dwm_ray.types import Segments


class Plans(nn.Module):
    """State model whose next state is `step` away, plus noise; it stores the arguments of its last call."""

    def __init__(self, step: Tensor, noise: float = 0.0) -> None:
        super().__init__()
        self.step = nn.Parameter(step)
        self.noise = noise

    def imagine(self, obs: Tensor, act: Tensor, **arguments: Any) -> Segments:
        self.arguments = {"act": act, **arguments}
        following = obs + self.step + self.noise * torch.randn(obs.shape, generator=arguments["generator"])
        return transition(obs, act, following)


def transition(obs: Tensor, act: Tensor, following: Tensor) -> Segments:
    zeros = torch.zeros(len(obs), 1)
    return Segments(torch.stack([obs, following], 1), act[:, None], zeros, zeros + 0.99, zeros, zeros[:, 0])


def planner(step: Tensor, noise: float = 0.0, target_rtg: float = 0.5) -> Any:
    agent = build("decision_diffuser", SPACES)
    agent.attach(Plans(step, noise), target_rtg)
    return agent


def test_the_state_after_a_termination_is_not_learned_from() -> None:
    rows = segments(8, 1, UNIT)
    other = rows.map(torch.clone)
    other.obs[-1, 1] = 1e6
    first, second = build("decision_diffuser"), build("decision_diffuser")
    first.update(rows, rng())
    second.update(other, rng())
    torch.testing.assert_close(first.state_dict(), second.state_dict(), rtol=0, atol=0)
    rows.discount.zero_()
    assert first.update(rows, rng())["inverse_loss"] == 0


def test_acts_towards_the_planned_state() -> None:
    """Data: s' = s + (a_0, a_1, a_0 - a_1), so the action follows from the change."""
    agent, noise = build("decision_diffuser", hidden_size=32, learning_rate=3e-3), rng()
    for _ in range(800):
        obs, act = torch.randn(64, 3, generator=noise), torch.rand(64, 2, generator=noise) * 2 - 1
        change = torch.cat([act, act[:, :1] - act[:, 1:]], 1)
        agent.update(transition(obs, act, obs + change), noise)
    agent.attach(Plans(torch.tensor([0.5, -0.3, 0.8])), 0.5)
    act = agent.act(torch.randn(32, 3, generator=noise))
    torch.testing.assert_close(act, torch.tensor([0.5, -0.3]).expand(32, 2), atol=0.1, rtol=0)


def test_a_plan_is_one_step_for_the_target_return_without_an_action() -> None:
    agent = planner(torch.zeros(3), target_rtg=0.7)
    agent.act(torch.randn(4, 3))
    arguments = agent.model.arguments
    assert torch.equal(arguments["act"], torch.tensor([0.0, 0.5]).expand(4, 2))  # the centre
    assert (arguments["horizon"], arguments["rtg"], arguments["policy"]) == (1, 0.7, None)


def test_greedy_plans_are_repeatable_and_explored_ones_depend_on_the_generator() -> None:
    agent, obs = planner(torch.zeros(3), noise=1.0), torch.randn(4, 3)
    first = agent.act(obs)
    torch.manual_seed(5)
    assert torch.equal(first, agent.act(obs))
    one, two, three = (agent.explore(obs, rng(seed)) for seed in (1, 1, 2))
    assert torch.equal(one, two)
    assert not torch.equal(one, three)


def test_the_model_is_part_of_the_state_and_is_not_trained() -> None:
    agent, other, obs = planner(torch.ones(3)), planner(torch.zeros(3)), torch.randn(4, 3)
    agent.update(segments(8, 1), rng())
    assert torch.equal(agent.state_dict()["model.step"], torch.ones(3))
    assert [name for name, param in agent.named_parameters() if not param.requires_grad] == ["model.step"]
    other.load_state_dict(agent.state_dict())
    assert torch.equal(agent.act(obs), other.act(obs))


@pytest.mark.parametrize(("world_model", "given"), [(None, "none"), ("dwm", "dwm"), ("one_step", "one_step")])
def test_a_model_conditioned_on_the_action_is_refused(world_model: str | None, given: str) -> None:
    with pytest.raises(ValueError, match=rf"world_model {given}: .*world_model\.condition_on_action False"):
        RunConfig(world_model=world_model, agent="decision_diffuser", filter="keep_all")  # type: ignore[arg-type]


def test_acting_without_a_model_is_an_error() -> None:
    with pytest.raises(AssertionError, match="attach a world model"):
        build("decision_diffuser").act(torch.zeros(1, 3))

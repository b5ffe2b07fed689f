"""Decision Diffuser: inverse dynamics equal to a plain network, plans asked for as documented, weights in one dict."""

from typing import Any

import pytest
import torch
from problems import SPACES, STATS, UNIT, segments
from test_networks import member
from torch import Tensor, nn

from dwm_ray.agents.decision_diffuser import DecisionDiffuser
from dwm_ray.config import RunConfig
from dwm_ray.options import TrainingConfig
from dwm_ray.types import Segments, Spaces


def agent(spaces: Spaces = UNIT, **options: Any) -> DecisionDiffuser:
    torch.manual_seed(0)
    return DecisionDiffuser(DecisionDiffuser.Config(hidden_size=32, **options), spaces, STATS, TrainingConfig())


class Plans(nn.Module):
    """A state model whose next state is `step` away, plus noise; it keeps what it was asked."""

    def __init__(self, step: Tensor, noise: float = 0.0) -> None:
        super().__init__()
        self.step = nn.Parameter(step)
        self.noise = noise

    def imagine(self, obs: Tensor, act: Tensor, **asked: Any) -> Segments:
        self.asked = {"act": act, **asked}
        following = obs + self.step + self.noise * torch.randn(obs.shape, generator=asked["generator"])
        zeros = torch.zeros(len(obs), 1)
        return Segments(torch.stack([obs, following], 1), act[:, None], zeros, zeros + 1, zeros, zeros[:, 0])


def moved(batch: int, generator: torch.Generator) -> Segments:
    """s' = s + (a_0, a_1, a_0 - a_1): the action can be read off the change."""
    obs = torch.randn(batch, 3, generator=generator)
    act = torch.rand(batch, 2, generator=generator) * 2 - 1
    change = torch.stack([act[:, 0], act[:, 1], act[:, 0] - act[:, 1]], 1)
    zeros = torch.zeros(batch, 1)
    return Segments(torch.stack([obs, obs + change], 1), act[:, None], zeros, zeros + 0.99, zeros, zeros[:, 0])


def test_the_inverse_dynamics_are_a_plain_network_trained_by_plain_adam() -> None:
    learner = agent()
    plain = nn.Sequential(member(learner.inverse.body, 0), nn.Tanh())
    adam = torch.optim.Adam(plain.parameters(), lr=2e-4)
    mean, std = torch.tensor(STATS.obs_mean), torch.tensor(STATS.obs_std) + 1e-3
    for seed in range(5):
        rows = segments(16, 1, UNIT, seed)  # the last row ended the task
        x = torch.cat([(rows.obs[:-1, i] - mean) / std for i in range(2)], 1)
        loss = nn.functional.mse_loss(plain(x), rows.act[:-1, 0])
        adam.zero_grad()
        loss.backward()
        adam.step()
        assert learner.update(rows, torch.Generator())["inverse_loss"].item() == pytest.approx(loss.item(), rel=1e-5)
    mine = member(learner.inverse.body, 0).state_dict()
    torch.testing.assert_close(mine, plain[0].state_dict(), rtol=1e-4, atol=1e-6)


def test_the_state_after_the_end_of_the_task_is_not_learned_from() -> None:
    rows = segments(8, 1, UNIT)
    other = rows.map(torch.clone)
    other.obs[-1, 1] = 1e6
    first, second = agent(), agent()
    first.update(rows, torch.Generator())
    second.update(other, torch.Generator())
    for mine, theirs in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(mine, theirs)
    rows.discount.zero_()
    assert first.update(rows, torch.Generator())["inverse_loss"] == 0


def test_acts_towards_the_state_that_was_planned() -> None:
    learner, generator = agent(learning_rate=3e-3), torch.Generator().manual_seed(0)
    for _ in range(800):
        learner.update(moved(64, generator), generator)
    learner.attach(Plans(torch.tensor([0.5, -0.3, 0.8])), 0.5)
    act = learner.act(torch.randn(32, 3, generator=generator))
    torch.testing.assert_close(act, torch.tensor([0.5, -0.3]).expand(32, 2), atol=0.1, rtol=0)


def test_a_plan_is_one_step_for_the_return_asked_for_and_sees_no_action() -> None:
    learner, model = agent(SPACES), Plans(torch.zeros(3))
    learner.attach(model, 0.7)
    learner.act(torch.randn(4, 3))
    centre = torch.tensor([0.0, 0.5])
    assert torch.equal(model.asked["act"], centre.expand(4, 2))
    assert (model.asked["horizon"], model.asked["rtg"], model.asked["policy"]) == (1, 0.7, None)


def test_greedy_plans_repeat_themselves_and_explored_ones_follow_the_generator() -> None:
    learner, obs = agent(), torch.randn(4, 3)
    learner.attach(Plans(torch.zeros(3), noise=1.0), 0.5)
    first = learner.act(obs)
    torch.manual_seed(5)
    torch.rand(3)
    assert torch.equal(first, learner.act(obs))
    one, two, three = (learner.explore(obs, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert torch.equal(one, two)
    assert not torch.equal(one, three)


def test_the_model_is_part_of_the_state_and_stays_as_it_is() -> None:
    learner, other = agent(), agent()
    learner.attach(Plans(torch.ones(3)), 0.5)
    before = {name for name, _ in learner.named_parameters()}
    learner.update(segments(8, 1, UNIT), torch.Generator())
    assert "model.step" in before
    assert torch.equal(learner.state_dict()["model.step"], torch.ones(3))
    assert [name for name, param in learner.named_parameters() if not param.requires_grad] == ["model.step"]
    other.attach(Plans(torch.zeros(3)), 0.5)
    other.load_state_dict(learner.state_dict())
    obs = torch.randn(4, 3)
    assert torch.equal(learner.act(obs), other.act(obs))


@pytest.mark.parametrize(("world_model", "given"), [(None, "none"), ("dwm", "dwm"), ("one_step", "one_step")])
def test_a_model_that_knows_the_action_is_refused(world_model: str | None, given: str) -> None:
    with pytest.raises(ValueError, match=rf"world_model {given}: .*world_model\.condition_on_action False"):
        RunConfig(world_model=world_model, agent="decision_diffuser", filter="keep_all")  # type: ignore[arg-type]


def test_acting_without_a_model_is_an_error_of_ours() -> None:
    with pytest.raises(AssertionError, match="attach a world model"):
        agent().act(torch.zeros(1, 3))

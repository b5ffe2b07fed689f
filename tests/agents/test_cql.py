"""CQL: equal to the published update, written plainly; golden log-sum-exp; entropy in targets only when asked for."""

import math
from dataclasses import replace

import pytest
import torch
from problems import SPACES, STATS, UNIT, segments
from references import soft_update, step
from test_networks import member
from torch import Tensor, nn
from torch.distributions import Normal, TanhTransform, TransformedDistribution

from dwm_ray.agents.cql import CQL
from dwm_ray.agents.parts.networks import squashed
from dwm_ray.options import TrainingConfig
from dwm_ray.types import Segments, Spaces

N = 3  # sampled actions of each kind


def agent(spaces: Spaces = UNIT, **options: object) -> CQL:
    torch.manual_seed(0)
    config = CQL.Config(hidden_size=16, num_sampled_actions=N, **options)
    return CQL(config, spaces, STATS, TrainingConfig())


class PlainCQL:
    """Separate networks and optimisers, a loop over sampled actions."""

    def __init__(self, learner: CQL) -> None:
        self.actor = member(learner.actor.body, 0)
        self.critics = [member(learner.critic.body, i) for i in range(2)]
        self.targets = [member(learner.critic.body, i) for i in range(2)]
        self.log_alpha = nn.Parameter(torch.zeros(()))
        self.actor_adam = torch.optim.Adam(self.actor.parameters(), lr=3e-5)
        self.alpha_adam = torch.optim.Adam([self.log_alpha], lr=3e-5)
        self.critic_adams = [torch.optim.Adam(critic.parameters(), lr=3e-4) for critic in self.critics]

    def policy(self, obs: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        mean, log_std = self.actor(obs).chunk(2, 1)
        std = (log_std - 1).clamp(-20, 2).exp()
        act = torch.tanh(mean + std * noise)
        density = TransformedDistribution(Normal(mean, std), [TanhTransform()])
        return act, density.log_prob(act.clamp(-1 + 1e-6, 1 - 1e-6)).sum(1)

    def update(self, s: Segments, obs: Tensor, next_obs: Tensor, generator: torch.Generator) -> None:
        act, batch = s.act[:, 0], len(s)
        noise = torch.randn(batch, 2, generator=generator)
        proposals = torch.randn(batch, 2, N, 2, generator=generator)
        uniform = torch.rand(batch, N, 2, generator=generator) * 2 - 1
        next_noise = torch.randn(batch, 2, generator=generator)

        def q(critic: nn.Module, a: Tensor) -> Tensor:
            return critic(torch.cat([obs, a], 1)).squeeze(1)

        new_act, log_prob = self.policy(obs, noise)
        alpha_loss = -(self.log_alpha * (log_prob - 2).detach()).mean()  # the target entropy is -A = -2
        low_q = torch.min(*(q(critic, new_act) for critic in self.critics))
        actor_loss = (self.log_alpha.exp().detach() * log_prob - low_q).mean()
        with torch.no_grad():
            x = torch.cat([next_obs, self.policy(next_obs, next_noise)[0]], 1)
            target = s.rew[:, 0] + s.discount[:, 0] * torch.min(*(t(x).squeeze(1) for t in self.targets))
            here = [self.policy(obs, proposals[:, 0, j]) for j in range(N)]
            there = [self.policy(next_obs, proposals[:, 1, j]) for j in range(N)]
        losses = []
        for critic in self.critics:
            columns = [q(critic, uniform[:, j]) - math.log(0.5**2) for j in range(N)]
            columns += [q(critic, a) - density for a, density in here + there]
            conservative = torch.logsumexp(torch.stack(columns, 1), 1) - q(critic, act)
            losses.append(nn.functional.mse_loss(q(critic, act), target) + 10 * conservative.mean())
        step(self.alpha_adam, alpha_loss)
        step(self.actor_adam, actor_loss)
        # the policy's loss left gradients in the critics, which `step` clears
        for optimizer, loss in zip(self.critic_adams, losses, strict=True):
            step(optimizer, loss)
        for target_critic, critic in zip(self.targets, self.critics, strict=True):
            soft_update(target_critic, critic)


def test_one_step_equals_the_published_algorithm() -> None:
    learner = agent()
    plain = PlainCQL(learner)
    noise, plain_noise = torch.Generator().manual_seed(1), torch.Generator().manual_seed(1)
    for seed in range(5):
        rows = segments(32, 1, UNIT, seed)
        obs = learner.scaling.obs(rows.obs)
        learner.update(rows, noise)
        plain.update(rows, obs[:, 0], obs[:, 1], plain_noise)
    pairs = [(learner.actor.body, 0, plain.actor)]
    pairs += [(learner.critic.body, i, plain.critics[i]) for i in range(2)]
    pairs += [(learner.target_critic.body, i, plain.targets[i]) for i in range(2)]
    for mine, index, theirs in pairs:
        torch.testing.assert_close(member(mine, index).state_dict(), theirs.state_dict(), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(learner.temperature["log"], plain.log_alpha, rtol=1e-4, atol=1e-8)
    assert learner.temperature["log"] != 0


def test_golden_density_of_a_squashed_gaussian() -> None:
    act, log_prob = squashed(torch.tensor([[0.3]]), torch.tensor([[-1.0]]), torch.tensor([[0.5]]))
    x = 0.3 + 0.5 / math.e
    normal = math.exp(-(0.5**2) / 2) / (math.sqrt(2 * math.pi) / math.e)
    assert act.item() == pytest.approx(math.tanh(x), rel=1e-6)
    assert log_prob.item() == pytest.approx(math.log(normal / (1 - math.tanh(x) ** 2)), rel=1e-5)
    _, saturated = squashed(torch.tensor([[40.0]]), torch.tensor([[0.0]]), torch.zeros(1, 1))
    assert saturated.isfinite()


def constant(learner: CQL, *values: float) -> None:
    """Both critics, learned and target, give constants."""
    for critic in (learner.critic, learner.target_critic):
        for param in critic.parameters():
            param.data.zero_()
        critic.body.biases[-1].data[:, 0, 0] = torch.tensor(values)


def test_golden_target_bootstraps_at_the_last_state_with_the_smaller_q() -> None:
    rows = replace(
        segments(2, 2, UNIT),
        rew=torch.tensor([[1.0, 2.0], [3.0, 4.0]]),
        discount=torch.tensor([[0.9, 0.9], [0.9, 0.0]]),
    )
    plain, soft = agent(target_clip="none"), agent(target_clip="none", entropy_backup=True)
    for learner in (plain, soft):
        constant(learner, 7.0, 5.0)
    target, _ = plain._targets(rows, torch.Generator().manual_seed(2))
    assert target.tolist() == pytest.approx([1 + 0.9 * 2 + 0.81 * 5, 3 + 0.9 * 4])
    softer, _ = soft._targets(rows, torch.Generator().manual_seed(2))
    _, log_prob = soft._sample(soft.scaling.obs(rows.obs[:, -1]), torch.Generator().manual_seed(2))
    assert softer[0].item() == pytest.approx(target[0].item() - 0.81 * log_prob[0].item(), rel=1e-5)
    assert softer[1] == target[1]  # the task has ended


def test_conservative_sum_estimates_the_integral_over_all_actions() -> None:
    """One over the density averages to the volume of the actions, 2^A, whatever the actions were drawn from."""
    torch.manual_seed(0)
    learner = CQL(CQL.Config(hidden_size=16, num_sampled_actions=5000), UNIT, STATS, TrainingConfig())
    for param in learner.actor.parameters():
        param.data.zero_()
    learner.actor.body.biases[-1].data[0, 0, 2:] = 0.8  # a deviation that reaches every action
    rows = segments(4, 1, UNIT)
    policy = learner.actor(learner.scaling.obs(rows.obs[:, 0]))
    act, density = learner._samples(rows, policy, torch.Generator().manual_seed(0))
    assert act.shape == (4, 15_000, 2)
    volume = (-density).exp().view(4, 3, 5000).mean((0, 2))
    torch.testing.assert_close(volume, torch.full((3,), 4.0), rtol=0.05, atol=0)


def test_sampled_actions_follow_the_state_after_the_first_step_only() -> None:
    """A longer segment samples around s_{t+1}, not around the state that it bootstraps in."""
    learner, rows = agent(), segments(8, 3, UNIT)
    policy = learner.actor(learner.scaling.obs(rows.obs[:, 0]))
    long, short = (learner._samples(x, policy, torch.Generator().manual_seed(0))[0] for x in (rows, rows.prefix(1)))
    assert torch.equal(long, short)


def test_conservative_term_holds_the_data_above_other_actions() -> None:
    rows, gaps = segments(64, 1, UNIT), []
    rows.act.fill_(0.8)
    for weight in (0.0, 10.0):
        learner, noise = agent(conservative_weight=weight, critic_learning_rate=3e-3), torch.Generator().manual_seed(0)
        metrics = [learner.update(rows, noise) for _ in range(40)]
        gaps.append(metrics[-1]["conservative_gap"].item())
    assert gaps[1] < gaps[0] - 1


def test_explores_with_a_draw_and_acts_with_the_mode() -> None:
    learner = agent(SPACES)
    obs = torch.randn(500, 3, generator=torch.Generator().manual_seed(0))
    explored = learner.explore(obs, torch.Generator().manual_seed(0))
    unit = learner.scaling.unit(explored) - learner.scaling.unit(learner.act(obs))
    assert 0.15 < unit.std().item() < 0.5  # the untrained deviation is about 1 / e before squashing
    assert abs(unit.mean().item()) < 0.05

"""Diffusion-QL: equal to the published update, written plainly; the chain's formulas; how candidates are chosen."""

import copy
import math

import torch
from problems import SPACES, STATS, UNIT, segments
from references import soft_update, step
from torch import Tensor, nn

from dwm_ray.agents.diffusion_ql import DiffusionQL
from dwm_ray.agents.parts.diffusion_policy import DiffusionPolicy
from dwm_ray.agents.parts.networks import StackedMLP
from dwm_ray.options import TrainingConfig
from dwm_ray.types import Segments, Spaces


def agent(spaces: Spaces = UNIT, **options: object) -> DiffusionQL:
    torch.manual_seed(0)
    return DiffusionQL(DiffusionQL.Config(hidden_size=16, **options), spaces, STATS, TrainingConfig())


def mish_member(stack: StackedMLP, index: int) -> nn.Sequential:
    """One network of a stack, from torch's own layers."""
    layers: list[nn.Module] = []
    for weight, bias in zip(stack.weights, stack.biases, strict=True):
        linear = nn.Linear(weight.shape[1], weight.shape[2])
        linear.weight.data, linear.bias.data = weight[index].T.clone(), bias[index, 0].clone()
        layers += [linear, nn.Mish()]
    return nn.Sequential(*layers[:-1])


class PlainPolicy(nn.Module):
    """The published formulas, one diffusion step at a time."""

    def __init__(self, policy: DiffusionPolicy, steps: int = 5) -> None:
        super().__init__()
        self.net = mish_member(policy.body, 0)
        first, _, second = policy.step_mlp
        self.embed = nn.Sequential(copy.deepcopy(first), nn.Mish(), copy.deepcopy(second))
        self.betas = [1 - math.exp(-0.1 / steps - 0.5 * 9.9 * (2 * k - 1) / steps**2) for k in range(1, steps + 1)]
        self.bars = [math.prod(1 - beta for beta in self.betas[:k]) for k in range(steps + 1)]

    def noise(self, x: Tensor, k: Tensor, obs: Tensor) -> Tensor:
        angle = k[:, None] * torch.tensor([10_000 ** (-i / 7) for i in range(8)])
        embedding = self.embed(torch.cat([angle.sin(), angle.cos()], 1))
        return self.net(torch.cat([x, embedding, obs], 1))

    def loss(self, obs: Tensor, act: Tensor, generator: torch.Generator) -> Tensor:
        k = torch.randint(1, len(self.betas) + 1, (len(act),), generator=generator)
        noise = torch.randn(act.shape, generator=generator)
        bar = torch.tensor(self.bars)[k][:, None]
        return ((self.noise(bar.sqrt() * act + (1 - bar).sqrt() * noise, k, obs) - noise) ** 2).mean()

    def sample(self, obs: Tensor, generator: torch.Generator) -> Tensor:
        x = torch.randn(len(obs), 2, generator=generator)
        for k in range(len(self.betas), 0, -1):
            beta, bar, before = self.betas[k - 1], self.bars[k], self.bars[k - 1]
            noise = self.noise(x, torch.full((len(x),), k), obs)
            clean = (x / math.sqrt(bar) - math.sqrt(1 / bar - 1) * noise).clamp(-1, 1)
            mean = beta * math.sqrt(before) / (1 - bar) * clean
            mean = mean + (1 - before) * math.sqrt(1 - beta) / (1 - bar) * x
            x = mean
            if k > 1:
                variance = beta * (1 - before) / (1 - bar)
                x = mean + math.sqrt(variance) * torch.randn(x.shape, generator=generator)
        return x


class PlainDiffusionQL:
    def __init__(self, learner: DiffusionQL) -> None:
        self.actor = PlainPolicy(learner.actor)
        self.ema = copy.deepcopy(self.actor)
        self.critics = [mish_member(learner.critic.body, i) for i in range(2)]
        self.targets = copy.deepcopy(self.critics)
        self.actor_adam = torch.optim.Adam(self.actor.parameters(), lr=3e-4)
        self.critic_adam = torch.optim.Adam([p for critic in self.critics for p in critic.parameters()], lr=3e-4)
        self.coins: list[int] = []

    def update(self, s: Segments, obs: Tensor, next_obs: Tensor, generator: torch.Generator, move_ema: bool) -> None:
        act = s.act[:, 0]
        with torch.no_grad():
            x = torch.cat([next_obs, self.ema.sample(next_obs, generator)], 1)
            target = s.rew + s.discount * torch.min(*(critic(x) for critic in self.targets))
        x = torch.cat([obs, act], 1)
        step(self.critic_adam, sum(nn.functional.mse_loss(critic(x), target) for critic in self.critics))
        bc_loss = self.actor.loss(obs, act, generator)
        x = torch.cat([obs, self.actor.sample(obs, generator)], 1)
        one = int(torch.randint(2, (1,), generator=generator))
        q, other = self.critics[one](x), self.critics[1 - one](x)
        step(self.actor_adam, bc_loss - q.mean() / other.abs().mean().detach())
        for target_critic, critic in zip(self.targets, self.critics, strict=True):
            soft_update(target_critic, critic)
        if move_ema:
            soft_update(self.ema, self.actor)
        self.coins.append(one)


def assert_same_policy(mine: DiffusionPolicy, plain: PlainPolicy) -> None:
    torch.testing.assert_close(mish_member(mine.body, 0).state_dict(), plain.net.state_dict(), rtol=1e-3, atol=1e-5)
    theirs = dict(zip(mine.step_mlp.state_dict(), plain.embed.state_dict().values(), strict=True))
    torch.testing.assert_close(dict(mine.step_mlp.state_dict()), theirs, rtol=1e-3, atol=1e-5)


def test_one_step_equals_the_published_algorithm() -> None:
    learner = agent(ema_start=2, ema_every=3)
    plain = PlainDiffusionQL(learner)
    noise, plain_noise = torch.Generator().manual_seed(1), torch.Generator().manual_seed(1)
    for update in range(8):
        rows = segments(32, 1, UNIT, update)
        obs = learner.scaling.obs(rows.obs)
        learner.update(rows, noise)
        plain.update(rows, obs[:, 0], obs[:, 1], plain_noise, move_ema=update in (3, 6))
    assert set(plain.coins) == {0, 1}
    assert_same_policy(learner.actor, plain.actor)
    assert_same_policy(learner.target_actor, plain.ema)
    for i in range(2):
        mine = mish_member(learner.critic.body, i).state_dict()
        torch.testing.assert_close(mine, plain.critics[i].state_dict(), rtol=1e-3, atol=1e-5)
        mine = mish_member(learner.target_critic.body, i).state_dict()
        torch.testing.assert_close(mine, plain.targets[i].state_dict(), rtol=1e-3, atol=1e-5)


def test_average_waits_for_its_start() -> None:
    learner = agent(ema_start=3, ema_every=1)
    before = copy.deepcopy(learner.target_actor.state_dict())
    moved = []
    for _ in range(4):
        learner.update(segments(spaces=UNIT), torch.Generator())
        after = learner.target_actor.state_dict()
        moved.append(any(not torch.equal(after[key], value) for key, value in before.items()))
    assert moved == [False, False, False, True]


def test_the_critic_teaches_every_step_of_the_chain() -> None:
    policy = agent().actor
    obs = torch.randn(16, 3, generator=torch.Generator().manual_seed(0))
    calls: list[Tensor] = []

    def keep(module: nn.Module, args: object, out: Tensor) -> None:
        out.retain_grad()
        calls.append(out)

    policy.body.register_forward_hook(keep)
    policy.sample(obs, (16, 1, 2), torch.Generator().manual_seed(0)).sum().backward()
    assert len(calls) == 5
    assert all(out.grad is not None and out.grad.abs().sum() > 0 for out in calls)


def prefer_largest_first_action(learner: DiffusionQL) -> None:
    """Target Q of both networks grows with the first action's entry."""
    body = learner.target_critic.body
    for weight, bias in zip(body.weights, body.biases, strict=True):
        weight.data.zero_()
        bias.data.zero_()
        weight.data[:, 0, 0] = 1.0
    body.weights[0].data[:, 0, 0] = 0.0
    body.weights[0].data[:, learner.spaces.obs_size, 0] = 1.0


def test_acts_with_the_best_of_its_candidates() -> None:
    obs = torch.randn(6, 3, generator=torch.Generator().manual_seed(0))
    learner = agent(SPACES, num_candidates=20)
    prefer_largest_first_action(learner)
    noise = torch.Generator().manual_seed(0)
    candidates = learner.actor.sample(learner.scaling.obs(obs), (20, 2), noise)
    best = torch.stack([row[row[:, 0].argmax()] for row in candidates])
    torch.testing.assert_close(learner.act(obs), learner.scaling.raw(best))


def test_an_action_does_not_depend_on_the_rest_of_the_batch() -> None:
    learner, obs = agent(SPACES), torch.randn(6, 3)
    torch.testing.assert_close(learner.act(obs)[3:4], learner.act(obs[3:4]))


def test_more_target_actions_raise_the_bootstrap() -> None:
    one, many = agent(target_clip="none"), agent(target_clip="none", num_target_actions=30)
    rows = segments(64, 1, UNIT)
    low, high = (learner._targets(rows, torch.Generator().manual_seed(0))[0].mean() for learner in (one, many))
    assert high > low


def test_explores_with_one_draw_of_the_averaged_policy() -> None:
    learner, obs = agent(SPACES), torch.randn(4, 3)
    first, second = (learner.explore(obs, torch.Generator().manual_seed(seed)) for seed in (0, 1))
    assert not torch.equal(first, second)
    for param in learner.actor.parameters():
        param.data.zero_()
    assert torch.equal(first, learner.explore(obs, torch.Generator().manual_seed(0)))
    for param in learner.target_actor.parameters():
        param.data.zero_()
    assert not torch.equal(first, learner.explore(obs, torch.Generator().manual_seed(0)))

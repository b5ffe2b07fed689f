"""Published one-step algorithms, written plainly: separate networks, separate optimisers, one loss at a time.

States and actions are already standardised; weights are copied from the agent under test. `update` returns expected
metrics, and `pairs` returns (weights of the agent, expected weights).
"""

import copy
import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import Normal, TanhTransform, TransformedDistribution
from torch.nn.functional import mse_loss

from dwm_ray.agents.parts.diffusion_policy import DiffusionPolicy
from dwm_ray.agents.parts.networks import StackedMLP
from dwm_ray.types import Segments


def member(stack: StackedMLP, index: int, activation: type[nn.Module] = nn.ReLU) -> nn.Sequential:
    """Copy one network of a stack into torch's own layers."""
    layers: list[nn.Module] = []
    norms: list[Any] = [*zip(stack.gains, stack.shifts, strict=True), None]
    norms = norms if len(norms) == len(stack.weights) else [None] * len(stack.weights)
    for weight, bias, norm in zip(stack.weights, stack.biases, norms, strict=True):
        linear = nn.Linear(weight.shape[1], weight.shape[2])
        linear.weight.data, linear.bias.data = weight[index].T.clone(), bias[index, 0].clone()
        layers += [linear, activation()]
        layers += [layer_norm(*(part[index, 0] for part in norm))] if norm else []
    return nn.Sequential(*layers[:-1])


def layer_norm(gain: Tensor, shift: Tensor) -> nn.LayerNorm:
    norm = nn.LayerNorm(len(gain))
    norm.weight.data, norm.bias.data = gain.clone(), shift.clone()
    return norm


def members(stack: StackedMLP, activation: type[nn.Module] = nn.ReLU) -> nn.ModuleList:
    return nn.ModuleList([member(stack, i, activation) for i in range(len(stack.weights[0]))])


def adam(*modules: nn.Module, lr: float = 3e-4) -> torch.optim.Adam:
    return torch.optim.Adam([p for module in modules for p in module.parameters()], lr=lr)


def soft_update(target: nn.Module, source: nn.Module) -> None:
    for a, b in zip(target.parameters(), source.parameters(), strict=True):
        a.data.copy_(0.995 * a.data + 0.005 * b.data)


def step(optimizer: torch.optim.Adam, loss: Tensor) -> None:
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


def stack_pairs(*pairs: tuple[StackedMLP, nn.ModuleList], activation: type[nn.Module] = nn.ReLU) -> list[Any]:
    return [(members(stack, activation).state_dict(), plain.state_dict()) for stack, plain in pairs]


class PlainBC:
    def __init__(self, agent: Any) -> None:
        self.actor = members(agent.actor.body)
        self.adam = adam(self.actor)

    def update(self, s: Segments, obs: Tensor, next_obs: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
        loss = mse_loss(torch.tanh(self.actor[0](obs)), s.act[:, 0])
        step(self.adam, loss)
        return {"bc_loss": loss.detach()}

    def pairs(self, agent: Any) -> list[Any]:
        return stack_pairs((agent.actor.body, self.actor))


class PlainInverseDynamics:
    def __init__(self, agent: Any) -> None:
        self.net = members(agent.inverse.body)
        self.adam = adam(self.net, lr=2e-4)

    def update(self, s: Segments, obs: Tensor, next_obs: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
        alive = s.discount[:, 0] > 0
        x = torch.cat([obs, next_obs], 1)[alive]
        loss = mse_loss(torch.tanh(self.net[0](x)), s.act[alive, 0])
        step(self.adam, loss)
        return {"inverse_loss": loss.detach()}

    def pairs(self, agent: Any) -> list[Any]:
        return stack_pairs((agent.inverse.body, self.net))


class PlainTD3:
    learning_rate = 3e-4

    def __init__(self, agent: Any) -> None:
        self.actor, self.critics = members(agent.actor.body), members(agent.critic.body)
        self.target_actor, self.target_critics = copy.deepcopy(self.actor), copy.deepcopy(self.critics)
        self.actor_adam, self.critic_adam = (adam(x, lr=self.learning_rate) for x in (self.actor, self.critics))
        self.total_it = 0

    def pairs(self, agent: Any) -> list[Any]:
        actors = (agent.actor.body, self.actor), (agent.target_actor.body, self.target_actor)
        critics = (agent.critic.body, self.critics), (agent.target_critic.body, self.target_critics)
        return stack_pairs(*actors, *critics)


class PlainTD3BC(PlainTD3):
    def update(self, s: Segments, obs: Tensor, next_obs: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
        self.total_it += 1
        act, rew, discount = s.act[:, 0], s.rew, s.discount
        with torch.no_grad():
            noise = (torch.randn(act.shape, generator=generator) * 0.2).clamp(-0.5, 0.5)
            x = torch.cat([next_obs, (torch.tanh(self.target_actor[0](next_obs)) + noise).clamp(-1, 1)], 1)
            target = rew + discount * torch.min(self.target_critics[0](x), self.target_critics[1](x))
        x = torch.cat([obs, act], 1)
        step(self.critic_adam, sum(mse_loss(critic(x), target) for critic in self.critics))
        if self.total_it % 2 == 0:
            pi = torch.tanh(self.actor[0](obs))
            q = self.critics[0](torch.cat([obs, pi], 1))
            step(self.actor_adam, -2.5 / q.abs().mean().detach() * q.mean() + mse_loss(pi, act))
            soft_update(self.target_actor, self.actor)
            soft_update(self.target_critics, self.critics)
        return {}


class PlainReBRAC(PlainTD3):
    """The public code's losses; target networks follow the weights after their step."""

    learning_rate = 1e-3

    def update(self, s: Segments, obs: Tensor, next_obs: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
        self.total_it += 1
        act, next_act = s.act[:, 0], s.next_act
        assert next_act is not None
        with torch.no_grad():
            noise = (torch.randn(act.shape, generator=generator) * 0.2).clamp(-0.5, 0.5)
            target_act = (torch.tanh(self.target_actor[0](next_obs)) + noise).clamp(-1, 1)
            x = torch.cat([next_obs, target_act], 1)
            next_q = torch.min(self.target_critics[0](x), self.target_critics[1](x))
            penalty = ((target_act - next_act) ** 2).sum(1, keepdim=True)
            penalty[next_act.isnan().any(1)] = 0
            target = s.rew + s.discount * (next_q - 0.3 * penalty)
        x = torch.cat([obs, act], 1)
        step(self.critic_adam, sum(mse_loss(critic(x), target) for critic in self.critics))
        if self.total_it % 2 == 0:
            pi = torch.tanh(self.actor[0](obs))
            q = torch.min(*(critic(torch.cat([obs, pi], 1)) for critic in self.critics))
            bc_penalty = ((pi - act) ** 2).sum(1, keepdim=True)
            step(self.actor_adam, (0.2 * bc_penalty - q / q.abs().mean().detach()).mean())
            soft_update(self.target_actor, self.actor)
            soft_update(self.target_critics, self.critics)
        return {"next_act_known": torch.tensor(31 / 32)}


class PlainIQL:
    """The order of CORL: advantages and targets use V before its step."""

    def __init__(self, agent: Any, reward_scale: float = 20.0) -> None:
        self.value, self.critics = members(agent.value.body), members(agent.critic.body)
        self.target_critics = copy.deepcopy(self.critics)
        self.mean = members(agent.actor.mean.body)
        self.log_std = nn.Parameter(torch.zeros(2))
        self.value_adam, self.critic_adam, self.actor_adam = adam(self.value), adam(self.critics), adam(self.mean)
        self.actor_adam.add_param_group({"params": [self.log_std]})
        self.schedule = torch.optim.lr_scheduler.LambdaLR(
            self.actor_adam, lambda i: (1 + math.cos(math.pi * i / agent.total_updates)) / 2
        )
        self.reward_scale = reward_scale

    def update(self, s: Segments, obs: Tensor, next_obs: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
        act = s.act[:, 0]
        x = torch.cat([obs, act], 1)
        with torch.no_grad():
            next_v = self.value[0](next_obs)
            target_q = torch.min(self.target_critics[0](x), self.target_critics[1](x))
        advantage = target_q - self.value[0](obs)
        step(self.value_adam, ((0.7 - (advantage.detach() < 0).float()).abs() * advantage**2).mean())
        target = self.reward_scale * s.rew + s.discount * next_v
        step(self.critic_adam, sum(mse_loss(critic(x), target) for critic in self.critics) / 2)
        soft_update(self.target_critics, self.critics)
        weight = (3.0 * advantage.detach()).exp().clamp(max=100)
        mean = torch.tanh(self.mean[0](obs))
        step(self.actor_adam, -(weight * Normal(mean, self.log_std.exp()).log_prob(act).sum(1, keepdim=True)).mean())
        self.schedule.step()
        return {}

    def pairs(self, agent: Any) -> list[Any]:
        critics = (agent.critic.body, self.critics), (agent.target_critic.body, self.target_critics)
        stacks = stack_pairs((agent.value.body, self.value), (agent.actor.mean.body, self.mean), *critics)
        return [*stacks, (agent.actor.log_std, self.log_std)]


class PlainCQL:
    """A loop over sampled actions, with one optimiser per critic."""

    NUM_SAMPLES = 3  # actions of each kind

    def __init__(self, agent: Any) -> None:
        self.actor, self.critics = members(agent.actor.body), members(agent.critic.body)
        self.targets = copy.deepcopy(self.critics)
        self.log_alpha = nn.Parameter(torch.zeros(()))
        self.actor_adam, self.alpha_adam = adam(self.actor, lr=3e-5), torch.optim.Adam([self.log_alpha], lr=3e-5)
        self.critic_adams = [adam(critic) for critic in self.critics]

    def policy(self, obs: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        mean, log_std = self.actor[0](obs).chunk(2, 1)
        std = (log_std - 1).clamp(-20, 2).exp()
        act = torch.tanh(mean + std * noise)
        density = TransformedDistribution(Normal(mean, std), [TanhTransform()])
        return act, density.log_prob(act.clamp(-1 + 1e-6, 1 - 1e-6)).sum(1)

    def update(self, s: Segments, obs: Tensor, next_obs: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
        act, batch, num = s.act[:, 0], len(s), self.NUM_SAMPLES
        noise = torch.randn(batch, 2, generator=generator)
        proposals = torch.randn(batch, 2, num, 2, generator=generator)
        uniform = torch.rand(batch, num, 2, generator=generator) * 2 - 1
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
            current = [self.policy(obs, proposals[:, 0, j]) for j in range(num)]
            following = [self.policy(next_obs, proposals[:, 1, j]) for j in range(num)]
        losses = []
        for critic in self.critics:
            columns = [q(critic, uniform[:, j]) - math.log(0.5**2) for j in range(num)]
            columns += [q(critic, a) - density for a, density in current + following]
            conservative = torch.logsumexp(torch.stack(columns, 1), 1) - q(critic, act)
            losses.append(mse_loss(q(critic, act), target) + 10 * conservative.mean())
        step(self.alpha_adam, alpha_loss)
        step(self.actor_adam, actor_loss)  # leaves gradients in the critics, which the next steps clear
        for optimizer, loss in zip(self.critic_adams, losses, strict=True):
            step(optimizer, loss)
        soft_update(self.targets, self.critics)
        return {}

    def pairs(self, agent: Any) -> list[Any]:
        critics = (agent.critic.body, self.critics), (agent.target_critic.body, self.targets)
        log_alphas = agent.temperature["log"] * 1e3, self.log_alpha * 1e3  # its steps are 3e-5
        return [*stack_pairs((agent.actor.body, self.actor), *critics), log_alphas]


class PlainPolicy(nn.Module):
    """The published formulas of a diffusion policy, one diffusion step at a time."""

    def __init__(self, policy: DiffusionPolicy, steps: int = 5) -> None:
        super().__init__()
        self.nets = members(policy.body, nn.Mish)
        first, _, second = policy.step_mlp
        self.embed = nn.Sequential(copy.deepcopy(first), nn.Mish(), copy.deepcopy(second))
        self.betas = [1 - math.exp(-0.1 / steps - 0.5 * 9.9 * (2 * k - 1) / steps**2) for k in range(1, steps + 1)]
        self.bars = [math.prod(1 - beta for beta in self.betas[:k]) for k in range(steps + 1)]

    def noise(self, x: Tensor, k: Tensor, obs: Tensor) -> Tensor:
        angle = k[:, None] * torch.tensor([10_000 ** (-i / 7) for i in range(8)])
        embedding = self.embed(torch.cat([angle.sin(), angle.cos()], 1))
        return self.nets[0](torch.cat([x, embedding, obs], 1))

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

    def pairs(self, policy: DiffusionPolicy) -> list[Any]:
        embed = dict(zip(policy.step_mlp.state_dict(), self.embed.state_dict().values(), strict=True))
        return [*stack_pairs((policy.body, self.nets), activation=nn.Mish), (dict(policy.step_mlp.state_dict()), embed)]


class PlainDiffusionQL:
    def __init__(self, agent: Any) -> None:
        self.actor = PlainPolicy(agent.actor)
        self.ema = copy.deepcopy(self.actor)
        self.critics = members(agent.critic.body, nn.Mish)
        self.targets = copy.deepcopy(self.critics)
        self.actor_adam, self.critic_adam = adam(self.actor), adam(self.critics)
        self.coins: list[int] = []

    def update(self, s: Segments, obs: Tensor, next_obs: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
        act = s.act[:, 0]
        with torch.no_grad():
            x = torch.cat([next_obs, self.ema.sample(next_obs, generator)], 1)
            target = s.rew + s.discount * torch.min(*(critic(x) for critic in self.targets))
        x = torch.cat([obs, act], 1)
        step(self.critic_adam, sum(mse_loss(critic(x), target) for critic in self.critics))
        bc_loss = self.actor.loss(obs, act, generator)
        x = torch.cat([obs, self.actor.sample(obs, generator)], 1)
        index = int(torch.randint(2, (1,), generator=generator))
        q, other = self.critics[index](x), self.critics[1 - index](x)
        step(self.actor_adam, bc_loss - q.mean() / other.abs().mean().detach())
        soft_update(self.targets, self.critics)
        if len(self.coins) in (3, 6):  # ema_start=2, ema_every=3
            soft_update(self.ema, self.actor)
        self.coins.append(index)
        return {"bc_loss": bc_loss.detach()}

    def pairs(self, agent: Any) -> list[Any]:
        assert set(self.coins) == {0, 1}, "both critics train the policy"
        critics = (agent.critic.body, self.critics), (agent.target_critic.body, self.targets)
        policies = self.actor.pairs(agent.actor) + self.ema.pairs(agent.target_actor)
        return policies + stack_pairs(*critics, activation=nn.Mish)

"""The published one-step algorithms, written plainly: separate networks, separate optimisers, one thing at a time.

States and actions are already standardised; weights are copied from the agent under test.
"""

import copy
import math
from typing import Any

import torch
from test_networks import member
from torch import Tensor, nn

from dwm_ray.types import Segments


def adam(*modules: nn.Module) -> torch.optim.Adam:
    return torch.optim.Adam([p for m in modules for p in m.parameters()], lr=3e-4)


def soft_update(target: nn.Module, source: nn.Module) -> None:
    for a, b in zip(target.parameters(), source.parameters(), strict=True):
        a.data.copy_(0.995 * a.data + 0.005 * b.data)


def step(optimizer: torch.optim.Adam, loss: Tensor) -> None:
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


class PlainTD3BC:
    def __init__(self, agent: Any) -> None:
        self.actor = nn.Sequential(member(agent.actor.body, 0), nn.Tanh())
        self.critics = [member(agent.critic.body, i) for i in range(2)]
        self.target_actor, self.target_critics = copy.deepcopy(self.actor), copy.deepcopy(self.critics)
        self.actor_adam, self.critic_adam = adam(self.actor), adam(*self.critics)
        self.total_it = 0

    def update(self, s: Segments, obs: Tensor, next_obs: Tensor, generator: torch.Generator) -> None:
        self.total_it += 1
        act, rew, discount = s.act[:, 0], s.rew, s.discount
        with torch.no_grad():
            noise = (torch.randn(act.shape, generator=generator) * 0.2).clamp(-0.5, 0.5)
            x = torch.cat([next_obs, (self.target_actor(next_obs) + noise).clamp(-1, 1)], 1)
            target = rew + discount * torch.min(self.target_critics[0](x), self.target_critics[1](x))
        x = torch.cat([obs, act], 1)
        step(self.critic_adam, sum(nn.functional.mse_loss(critic(x), target) for critic in self.critics))
        if self.total_it % 2 == 0:
            pi = self.actor(obs)
            q = self.critics[0](torch.cat([obs, pi], 1))
            step(self.actor_adam, -2.5 / q.abs().mean().detach() * q.mean() + nn.functional.mse_loss(pi, act))
            soft_update(self.target_actor, self.actor)
            for target_critic, critic in zip(self.target_critics, self.critics, strict=True):
                soft_update(target_critic, critic)


class PlainIQL:
    def __init__(self, agent: Any, num_updates: int, reward_scale: float) -> None:
        self.value = member(agent.value.body, 0)
        self.critics = [member(agent.critic.body, i) for i in range(2)]
        self.target_critics = copy.deepcopy(self.critics)
        self.mean = nn.Sequential(member(agent.actor.mean.body, 0), nn.Tanh())
        self.log_std = nn.Parameter(torch.zeros(2))
        self.value_adam, self.critic_adam, self.actor_adam = adam(self.value), adam(*self.critics), adam(self.mean)
        self.actor_adam.add_param_group({"params": [self.log_std]})
        self.schedule = torch.optim.lr_scheduler.LambdaLR(
            self.actor_adam, lambda i: (1 + math.cos(math.pi * i / num_updates)) / 2
        )
        self.reward_scale = reward_scale

    def update(self, s: Segments, obs: Tensor, next_obs: Tensor) -> None:
        act = s.act[:, 0]
        x = torch.cat([obs, act], 1)
        with torch.no_grad():
            next_v = self.value(next_obs)
            target_q = torch.min(self.target_critics[0](x), self.target_critics[1](x))
        advantage = target_q - self.value(obs)
        step(self.value_adam, ((0.7 - (advantage.detach() < 0).float()).abs() * advantage**2).mean())
        target = self.reward_scale * s.rew + s.discount * next_v
        step(self.critic_adam, sum(nn.functional.mse_loss(critic(x), target) for critic in self.critics) / 2)
        for target_critic, critic in zip(self.target_critics, self.critics, strict=True):
            soft_update(target_critic, critic)
        weight = (3.0 * advantage.detach()).exp().clamp(max=100)
        log_prob = torch.distributions.Normal(self.mean(obs), self.log_std.exp()).log_prob(act).sum(1, keepdim=True)
        step(self.actor_adam, -(weight * log_prob).mean())
        self.schedule.step()

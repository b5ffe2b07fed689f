"""Values and advantages that trained agents give to recorded and imagined futures."""

from typing import Any

import torch
from torch import Tensor

from dwm_ray.agents.base import Agent
from dwm_ray.studies.swap_parts import CONTINUED, IMAGINED, MIXES, RECORDED, SECOND_SAMPLE
from dwm_ray.types import Segments

NUM_VALUED = 8192
"""Start pairs whose futures are valued."""


def last_values(agent: Agent, futures: dict[str, Segments]) -> dict[str, float]:
    """Return mean and deviation of the values of recorded and of imagined last states, and their correlation.

    Only start pairs count whose futures are both alive after the last step.
    """
    recorded, imagined = (futures[name][slice(NUM_VALUED)] for name in (RECORDED, IMAGINED))
    alive = (recorded.discount[:, -1] > 0) & (imagined.discount[:, -1] > 0)
    first, second = (values(agent, part.obs[alive, -1]) for part in (recorded, imagined))
    return {
        "recorded_value": float(first.mean()),
        "recorded_std": float(first.std()),
        "imagined_value": float(second.mean()),
        "imagined_std": float(second.std()),
        "value_correlation": correlation(first, second),
    }


def advantages(agent: Any, futures: dict[str, Segments]) -> dict[str, dict[str, float]]:
    """Return statistics of the advantages of each composition, by its name, under the values of one agent.

    The advantage of a segment is its discounted rewards, plus the value of its last state, minus the value of s_t.
    `sample_correlation` is the correlation with a sample of the model's future (continued if it can continue).
    `slope` is the slope of its regression on Q(s_t, a_t) - V(s_t): the part of the action's effect that targets carry.
    `ending` is the mean over start pairs whose recorded future ends the task.
    """
    some = {name: segments[slice(NUM_VALUED)] for name, segments in futures.items()}
    reference, start = some[RECORDED], values(agent, some[RECORDED].obs[:, 0])
    effect, ends = _action_values(agent, reference) - start, reference.discount[:, -1] == 0
    mixes = [mix for mix in (*MIXES, SECOND_SAMPLE) if mix.parts <= some.keys()]
    gains = {mix.name: _targets(agent, mix.of(some)) - start for mix in mixes}
    whole = {mix.states: gains[mix.name] for mix in mixes if len(mix.parts) == 1}
    recorded, sample = whole[RECORDED], whole.get(CONTINUED, whole[IMAGINED])
    return {
        name: {
            "std": float(gain.std()),
            "correlation": correlation(gain, recorded),
            "sample_correlation": correlation(gain, sample),
            "slope": correlation(gain, effect) * float(gain.std() / effect.std()),
            "ending": float(gain[ends].mean()) if ends.any() else 0.0,
        }
        for name, gain in gains.items()
    }


def _targets(agent: Any, segments: Segments) -> Tensor:
    """Return n-step targets [B] in units of reward."""
    return reward_sum(segments) + segments.discount.prod(1) * values(agent, segments.obs[:, -1])


@torch.no_grad()
def _action_values(agent: Any, segments: Segments) -> Tensor:
    """Return Q of the start pairs [B] in units of reward."""
    found: Tensor = agent.critic(*agent.start_pairs(segments)).amin(-2)
    return found / agent.rule.reward_scale


@torch.no_grad()
def values(agent: Any, obs: Tensor) -> Tensor:
    """Return the value [N] that an agent gives to raw states [N, O], in raw units of reward."""
    states = agent.scaling.obs(obs)
    if hasattr(agent, "value"):
        found: Tensor = agent.value(states)
    else:
        found = agent.critic(states, agent.scaling.unit(agent.act(obs))).amin(-2)
    return found / agent.rule.reward_scale


def correlation(first: Tensor, second: Tensor) -> float:
    """Return the correlation of two columns [N]; 0 if one of them is constant."""
    a, b = (column.double() - column.double().mean() for column in (first, second))
    return float((a * b).sum() / ((a.square().sum() * b.square().sum()).sqrt() or 1.0))


def statistics_of(futures: dict[str, Segments]) -> list[dict[str, Any]]:
    """Return statistics of the sums of discounted rewards and of the ends of each future."""
    found, reference = [], futures[RECORDED]
    for name, segments in futures.items():
        sums, ended = reward_sum(segments), segments.discount[:, -1] == 0
        both = (ended & (reference.discount[:, -1] == 0)).double().mean()
        found.append(
            {
                "future": name,
                "reward_sum": float(sums.mean()),
                "reward_sum_std": float(sums.std()),
                "reward_sum_correlation": correlation(sums, reward_sum(reference)),
                "ended": float(ended.double().mean()),
                "ended_in_both": float(both),
            }
        )
    return found


def reward_sum(segments: Segments) -> Tensor:
    """Return the discounted sum [B] of the rewards of the steps that are alive."""
    before = torch.cat([torch.ones_like(segments.rew[:, :1]), segments.discount[:, :-1]], 1)
    return (torch.cumprod(before, 1) * segments.rew).sum(1)

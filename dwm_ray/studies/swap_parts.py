"""Segments composed of parts of recorded and imagined futures of the same start pairs.

A future has three parts: rewards, ends (discounts), and the states that are bootstrapped from. After a recorded end,
rewards are 0 and the last state is repeated; with imagined ends, such a segment may bootstrap from it. Start pairs
whose recording stops before step H without an end are left out, because their recorded future is not known.
"""

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from dwm_ray.blocks.futures import imagined_segments, recorded_segments
from dwm_ray.types import Segments, Termination, Windows
from dwm_ray.world_models.base import WorldModel

RECORDED = "recorded"
IMAGINED = "imagined"
CONTINUED = "continued"
"""Imagined from the recorded first step on."""
SHUFFLED = "shuffled"
"""Imagined with the return-to-go of another start pair."""
REPEATED = "repeated"
"""A second sample of the future that a run would use: continued, or imagined if the model cannot continue."""


@dataclass(frozen=True)
class Mix:
    """Composition of segments: the future from which each part is taken."""

    name: str
    rewards: str
    ends: str
    states: str

    @property
    def parts(self) -> set[str]:
        """Futures that the segments are composed of."""
        return {self.rewards, self.ends, self.states}

    def of(self, futures: dict[str, Segments]) -> Segments:
        """Return the segments."""
        rew, discount = futures[self.rewards].rew, futures[self.ends].discount
        return replace(futures[self.states], rew=rew, discount=discount)


MIXES = (
    Mix("all recorded", RECORDED, RECORDED, RECORDED),
    Mix("all imagined", IMAGINED, IMAGINED, IMAGINED),
    Mix("imagined states", RECORDED, RECORDED, IMAGINED),
    Mix("imagined rewards", IMAGINED, RECORDED, RECORDED),
    Mix("imagined ends", RECORDED, IMAGINED, RECORDED),
    Mix("first step recorded", CONTINUED, CONTINUED, CONTINUED),
    Mix("labels shuffled", SHUFFLED, SHUFFLED, SHUFFLED),
)
"""Compositions that agents learn from."""
SECOND_SAMPLE = Mix("second sample", REPEATED, REPEATED, REPEATED)
"""Control: its targets differ from those of the first sample as recorded targets would if the model were perfect."""


def futures_of(
    model: WorldModel, windows: Windows, rule: Termination, discount: float, generator: torch.Generator
) -> dict[str, Segments]:
    """Return the recorded and the imagined futures of the same start pairs, from windows of H + 1 states.

    Models that cannot continue from a recorded first step have no future `CONTINUED`. `REPEATED` is sampled last.
    """
    recorded = recorded_segments(windows, discount)
    order = torch.randperm(len(windows), generator=generator, device=generator.device)

    def imagined(rtg: Tensor, first_step: str) -> Segments:
        options = {"first_step": first_step} if hasattr(model.config, "first_step") else {}
        return imagined_segments(model.with_options(options), recorded, rule, discount, rtg, generator)

    futures = {RECORDED: recorded, IMAGINED: imagined(windows.rtg, "imagined")}
    if hasattr(model.config, "first_step"):
        futures[CONTINUED] = imagined(windows.rtg, "recorded")
    futures[SHUFFLED] = imagined(windows.rtg[order], "imagined")
    return {**futures, REPEATED: imagined(windows.rtg, "recorded")}


NUM_VALUED = 8192
"""Maximum number of start pairs whose values are computed."""


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
    return segments.reward_sum() + segments.discount.prod(1) * values(agent, segments.obs[:, -1])


@torch.no_grad()
def _action_values(agent: Any, segments: Segments) -> Tensor:
    """Return Q of the start pairs [B] in units of reward."""
    result: Tensor = agent.critic(*agent.start_pairs(segments)).amin(-2)
    return result / agent.rule.reward_scale


@torch.no_grad()
def values(agent: Any, obs: Tensor) -> Tensor:
    """Return the value [N] that an agent assigns to raw states [N, O], in raw units of reward."""
    states = agent.scaling.obs(obs)
    if hasattr(agent, "value"):
        result: Tensor = agent.value(states)
    else:
        result = agent.critic(states, agent.scaling.unit(agent.act(obs))).amin(-2)
    return result / agent.rule.reward_scale


def correlation(first: Tensor, second: Tensor) -> float:
    """Return the correlation of two columns [N]; 0 if one of them is constant."""
    return float(torch.corrcoef(torch.stack([first, second]).double())[0, 1].nan_to_num())


def statistics_of(futures: dict[str, Segments]) -> list[dict[str, Any]]:
    """Return statistics of the sums of discounted rewards and of the ends of each future."""
    rows, reference = [], futures[RECORDED]
    for name, segments in futures.items():
        sums, ended = segments.reward_sum(), segments.discount[:, -1] == 0
        both = (ended & (reference.discount[:, -1] == 0)).double().mean()
        rows.append(
            {
                "future": name,
                "reward_sum": float(sums.mean()),
                "reward_sum_std": float(sums.std()),
                "reward_sum_correlation": correlation(sums, reference.reward_sum()),
                "ended": float(ended.double().mean()),
                "ended_in_both": float(both),
            }
        )
    return rows

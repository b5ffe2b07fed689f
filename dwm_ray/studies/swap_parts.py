"""Segments composed of parts of recorded and imagined futures of the same start pairs.

A future has three parts: rewards, ends (discounts), and the states that are bootstrapped from. After a recorded end,
rewards are 0 and the last state is repeated; with imagined ends, such a segment may bootstrap from it. Start pairs
whose recording stops before step H without an end are left out, because their recorded future is not known.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from dwm_ray.blocks.stream import continued
from dwm_ray.data.windows import WindowSet
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
CHUNK_ROWS = 4096
"""Start pairs per call of the model, which bounds memory."""


@dataclass(frozen=True)
class Mix:
    """Composition of segments: the future that each part is taken from."""

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
"""Control: its targets differ from the first sample's as recorded ones would if the model were perfect."""


def known_windows(windows: WindowSet, num_pairs: int, generator: torch.Generator) -> Windows:
    """Return up to `num_pairs` windows that are recorded to their last state or to the end of the task."""
    every = windows.gather(torch.arange(windows.num_windows, device=generator.device))
    known = torch.nonzero(every.obs_mask[:, -1] | every.terminated[:, :-1].any(1)).squeeze(1)
    order = torch.randperm(len(known), generator=generator, device=generator.device)
    return every[known[order[:num_pairs]]]


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
        return _imagined(model.with_options(options), recorded, rule, discount, rtg, generator)

    futures = {RECORDED: recorded, IMAGINED: imagined(windows.rtg, "imagined")}
    if hasattr(model.config, "first_step"):
        futures[CONTINUED] = imagined(windows.rtg, "recorded")
    futures[SHUFFLED] = imagined(windows.rtg[order], "imagined")
    return {**futures, REPEATED: imagined(windows.rtg, "recorded")}


def recorded_segments(windows: Windows, discount: float) -> Segments:
    """Return windows of H + 1 states as segments; after a termination rewards are 0 and the state is repeated."""
    terminated, recorded = windows.terminated[:, :-1], windows.step_mask[:, :-1]
    alive = (terminated.cumsum(1) == 0).float()
    rew = windows.rew[:, :-1] * recorded
    return Segments(windows.obs, windows.act[:, :1], rew, discount * alive, 0 * rew, rew.new_zeros(len(rew)))


def _imagined(
    model: WorldModel,
    starts: Segments,
    rule: Termination,
    discount: float,
    rtg: Tensor,  # [B]
    generator: torch.Generator,
) -> Segments:
    """Return segments as long as `starts`, generated in chunks."""
    parts = [
        continued(
            model,
            starts[rows].prefix(1),
            rule,
            discount,
            policy=None,
            horizon=starts.horizon,
            rtg=rtg[rows],
            generator=generator,
        ).with_first_action()
        for rows in torch.arange(len(starts), device=rtg.device).split(CHUNK_ROWS)
    ]
    return Segments.cat(parts)

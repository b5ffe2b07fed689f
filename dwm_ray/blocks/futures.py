"""Recorded and imagined futures of the same start pairs."""

import torch
from torch import Tensor

from dwm_ray.blocks.stream import generate_from
from dwm_ray.data.windows import WindowSet
from dwm_ray.types import Segments, Termination, Windows
from dwm_ray.world_models.base import WorldModel

CHUNK_ROWS = 4096
"""Start pairs per call of the model, which bounds memory."""


def complete_windows(windows: WindowSet, num_pairs: int, generator: torch.Generator) -> Windows:
    """Return up to `num_pairs` windows that are recorded up to their last state or to a termination."""
    complete = windows.complete()
    order = torch.randperm(len(complete), generator=generator, device=generator.device)
    return windows.gather(complete[order[:num_pairs]])


def recorded_segments(windows: Windows, discount: float) -> Segments:
    """Return windows of H + 1 states as segments; after a termination rewards are 0 and the state is repeated."""
    terminated, recorded = windows.terminated[:, :-1], windows.step_mask[:, :-1]
    alive = (terminated.cumsum(1) == 0).float()
    rew = windows.rew[:, :-1] * recorded
    return Segments(windows.obs, windows.act[:, :1], rew, discount * alive, 0 * rew, rew.new_zeros(len(rew)))


def imagined_segments(
    model: WorldModel,
    starts: Segments,
    rule: Termination,
    discount: float,
    rtg: Tensor,  # [B]
    generator: torch.Generator,
) -> Segments:
    """Generate segments from the start pairs of `starts`, with as many steps; the model runs in chunks."""
    chunks = [
        generate_from(
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
    return Segments.cat(chunks)

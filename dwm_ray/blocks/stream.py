"""Streams of generated segments as pure functions: start pairs, noise, and ends of imagined episodes.

A stream is a fixed list of blocks. Its specification and the block index determine the start pairs and the noise of a
block. The rows of a block therefore depend neither on the process that generates it nor on the order of generation,
and a lost block can be regenerated.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from functools import cached_property, lru_cache
from typing import Any

import torch
from torch import Tensor

from dwm_ray.blocks.micro_batching import SegmentSampler
from dwm_ray.config import RunConfig
from dwm_ray.options import fingerprint
from dwm_ray.types import Policy, Segments, Termination
from dwm_ray.world_models.base import sampling_options

MIN_SEGMENTS = 100_000
"""Minimum length of a stream if `synthesis.num_segments` is not set. On the bundled data, 300 000 scored no higher."""


@dataclass(frozen=True)
class StreamSpec:
    """Everything that determines the rows of a stream; its fingerprint is the stream's name."""

    world_model: str
    """Fingerprint of the trained world model."""
    sampling: dict[str, Any]
    """Options of the model that affect sampling only (guidance, steps, temperature, ...)."""
    target_rtg: float | str
    discount: float
    num_segments: int
    block_rows: int
    seed: int

    @staticmethod
    def of(config: RunConfig, world_model: str, num_pairs: int) -> StreamSpec:
        """Return the stream that a run learns from data with `num_pairs` start pairs."""
        synthesis = config.synthesis
        return StreamSpec(
            world_model,
            sampling_options(config),
            synthesis.target_rtg,
            config.training.discount,
            synthesis.num_segments or max(num_pairs, MIN_SEGMENTS),
            synthesis.block_rows,
            synthesis.seed,
        )

    @cached_property
    def fingerprint(self) -> str:
        return fingerprint(asdict(self))

    @property
    def num_blocks(self) -> int:
        return -(-self.num_segments // self.block_rows)

    def rows_of(self, index: int) -> range:
        """Return the positions of block `index` in the stream; the last block may be shorter."""
        return range(index * self.block_rows, min((index + 1) * self.block_rows, self.num_segments))

    def generator(self, index: int, device: torch.device | str) -> torch.Generator:
        """Return a generator seeded for the noise of block `index`."""
        seed = int(fingerprint([self.fingerprint, index]), 16) % 2**63
        return torch.Generator(device).manual_seed(seed)


@lru_cache(maxsize=8)
def _order(num_pairs: int, seed: int, epoch: int) -> Tensor:
    """Return the permutation of the start pairs in one epoch."""
    generator = torch.Generator().manual_seed(int(fingerprint([seed, epoch]), 16) % 2**63)
    return torch.randperm(num_pairs, generator=generator)


def start_rows(spec: StreamSpec, index: int, num_pairs: int) -> Tensor:
    """Return the indices [rows] of the start pairs of block `index`: every pair once per epoch."""
    position = torch.arange(spec.rows_of(index).start, spec.rows_of(index).stop)
    epochs = position // num_pairs
    pairs = torch.empty_like(position)
    for epoch in epochs.unique().tolist():
        mask = epochs == epoch
        pairs[mask] = _order(num_pairs, spec.seed, epoch)[position[mask] % num_pairs]
    return pairs


def end_imagined_episodes(
    segments: Segments, rule: Termination, discount: float, first_is_recorded: bool = False
) -> Segments:
    """Set the discounts to gamma, and to 0 from the first step that terminates by the task's rule or by the model.

    The rule is not applied to a recorded first step, whose discount shows whether the episode ended.
    """
    continues = 1 - rule(segments.obs[:, 1:]).float()
    if first_is_recorded:
        continues[:, 0] = 1.0
    return replace(segments, discount=discount * torch.cumprod(segments.discount * continues, dim=1))


def generate_from(
    model: SegmentSampler,
    starts: Segments,
    rule: Termination,
    discount: float,
    *,
    policy: Policy | None,
    horizon: int,
    rtg: Tensor,
    generator: torch.Generator,
) -> Segments:
    """Generate segments from recorded transitions (H = 1); a model with `uses_first_step` continues from their step."""
    first = starts if model.uses_first_step else None
    obs, act = starts.obs[:, 0], starts.act[:, 0]
    segments = model.imagine(obs, act, policy=policy, horizon=horizon, rtg=rtg, generator=generator, first=first)
    return end_imagined_episodes(segments, rule, discount, first is not None)


def generate_block(
    spec: StreamSpec,
    index: int,
    model: SegmentSampler,
    starts: Segments,
    rule: Termination,
    rtg: Tensor,
) -> Segments:
    """Generate block `index` of a stream: segments of the model's maximum horizon from its start pairs.

    Args:
        spec: The stream.
        index: Index of the block.
        model: World model on the device of `starts`.
        starts: Recorded transitions, whose first states and actions are the start pairs.
        rule: Termination rule of the task.
        rtg: Return-to-go of each start pair [N] (`TaskData.start_rtg`).
    """
    device = starts.rew.device
    rows = start_rows(spec, index, len(starts)).to(device)
    return generate_from(
        model,
        starts[rows],
        rule,
        spec.discount,
        policy=None,
        horizon=model.max_horizon,
        rtg=rtg[rows],
        generator=spec.generator(index, device),
    )

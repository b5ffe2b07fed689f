"""From start pairs to imagined segments: which pairs, which noise, where imagined episodes end. Pure functions.

A stream is a fixed list of blocks. Block i is decided by the stream's specification and i alone - its start pairs, its
noise - so it does not matter which process draws it, in which order, or how often: one process and a cluster draw the
same rows, and a block that was lost is drawn again.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from functools import cached_property, lru_cache
from typing import Any

import torch
from torch import Tensor

from dwm_ray.blocks.micro_batching import SegmentSampler
from dwm_ray.config import RunConfig
from dwm_ray.filters.base import Filter
from dwm_ray.options import fingerprint
from dwm_ray.types import Segments, SegmentShape, Termination
from dwm_ray.world_models.base import sampling_options


@dataclass(frozen=True)
class StreamSpec:
    """Everything that decides a stream's rows; its fingerprint is the stream's name."""

    world_model: str
    """Fingerprint of the trained world model."""
    sampling: dict[str, Any]
    """The model's options that act in sampling only (guidance, steps, temperature, ...)."""
    target_rtg: float
    discount: float
    num_segments: int
    block_rows: int
    seed: int

    @staticmethod
    def of(config: RunConfig, world_model: str) -> StreamSpec:
        """The stream that a run learns from."""
        synthesis = config.synthesis
        return StreamSpec(
            world_model,
            sampling_options(config),
            synthesis.target_rtg,
            config.training.discount,
            synthesis.num_segments,
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
        """Positions in the stream of block `index`; the last block may be shorter."""
        return range(index * self.block_rows, min((index + 1) * self.block_rows, self.num_segments))

    def generator(self, index: int, device: torch.device | str) -> torch.Generator:
        """The noise of block `index`."""
        seed = int(fingerprint([self.fingerprint, index]), 16) % 2**63
        return torch.Generator(device).manual_seed(seed)


@lru_cache(maxsize=8)
def _order(num_pairs: int, seed: int, turn: int) -> Tensor:
    """A permutation of the start pairs; each turn through the data has its own."""
    generator = torch.Generator().manual_seed(int(fingerprint([seed, turn]), 16) % 2**63)
    return torch.randperm(num_pairs, generator=generator)


def start_rows(spec: StreamSpec, index: int, num_pairs: int) -> Tensor:
    """[rows] which start pairs block `index` begins from: every pair once before any pair twice."""
    position = torch.arange(spec.rows_of(index).start, spec.rows_of(index).stop)
    turns = position // num_pairs
    chosen = torch.empty_like(position)
    for turn in turns.unique().tolist():
        here = turns == turn
        chosen[here] = _order(num_pairs, spec.seed, turn)[position[here] % num_pairs]
    return chosen


def end_imagined_episodes(segments: Segments, rule: Termination, discount: float) -> Segments:
    """Set the discounts: gamma, and 0 from the step on whose next state ends the task by its rule or by the model."""
    alive = torch.cumprod(segments.discount * (1 - rule(segments.obs[:, 1:]).float()), dim=1)
    return replace(segments, discount=discount * alive)


def generate_block(
    spec: StreamSpec, index: int, model: SegmentSampler, starts: Segments, rule: Termination
) -> Segments:
    """Block `index` of a stream: the model's longest segments from its start pairs (real segments' first states and
    actions), on the model's device."""
    device = starts.rew.device
    rows = start_rows(spec, index, len(starts)).to(device)
    segments = model.imagine(
        starts.obs[rows, 0],
        starts.act[rows, 0],
        policy=None,
        horizon=model.max_horizon,
        rtg=spec.target_rtg,
        generator=spec.generator(index, device),
    )
    return end_imagined_episodes(segments, rule, spec.discount)


@dataclass(frozen=True)
class Selection:
    """What a learner keeps of imagined segments: filtered rows cut to its horizon, whole or step by step."""

    filter: Filter
    horizon: int
    transitions: bool
    """Every step of a kept segment becomes a row of its own (`WorldModel.makes_transitions`)."""
    padded_to: int = 0
    """Rows of fewer steps are padded to this horizon, which leaves every return as it is: all members of a population
    learn from batches of one shape."""

    @property
    def rows_a_segment(self) -> int:
        """The most rows that one segment gives."""
        return self.horizon if self.transitions else 1

    def shape(self, block: SegmentShape) -> SegmentShape:
        """The shape of what is kept."""
        if self.transitions:
            return replace(block, horizon=1, num_actions=1)
        horizon = max(self.horizon, self.padded_to)
        return replace(block, horizon=horizon, num_actions=min(block.num_actions, horizon))

    def kept(self, segments: Segments, generator: torch.Generator) -> Segments:
        """The rows that the filter chooses; a filter of transitions chooses among steps, any other among segments."""
        segments = segments.prefix(self.horizon)
        if self.transitions and self.filter.per_transition:
            segments = segments.transitions()
        chosen = segments[self.filter.select(segments, generator)]
        return chosen.transitions() if self.transitions and not self.filter.per_transition else chosen

    def rows(self, spec: StreamSpec, index: int, block: Tensor, shape: SegmentShape) -> Tensor:
        """Rows [kept, narrower width] of a stream's block [rows, width]; the same ones wherever it is called."""
        seed = int(fingerprint([spec.fingerprint, index, "selection"]), 16) % 2**63
        segments = self.kept(shape.split(block), torch.Generator(block.device).manual_seed(seed))
        kept = self.shape(shape)
        return kept.fuse(segments.padded(kept.horizon))

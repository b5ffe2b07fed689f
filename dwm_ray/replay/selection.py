"""Select the rows of a block that a learner trains on."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from dwm_ray.blocks.stream import StreamSpec
from dwm_ray.data.segment_rows import SegmentShape
from dwm_ray.filters.base import Filter
from dwm_ray.options import fingerprint
from dwm_ray.types import Segments


@dataclass(frozen=True)
class Selection:
    """Rule that turns generated segments into ring rows with one action: filter, cut to the horizon, split by step."""

    filter: Filter
    horizon: int
    transitions: bool
    """Whether every step of a selected segment becomes a row of its own (`WorldModel.makes_transitions`)."""

    @property
    def rows_per_segment(self) -> int:
        """Largest number of rows per segment."""
        return self.horizon if self.transitions else 1

    def shape(self, block: SegmentShape) -> SegmentShape:
        return replace(block, horizon=1 if self.transitions else self.horizon, num_actions=1)

    def apply(self, segments: Segments, generator: torch.Generator) -> Segments:
        """Return the selected rows as segments; a per-transition filter selects steps, other filters whole segments."""
        segments = segments.prefix(self.horizon)
        if self.transitions and self.filter.per_transition:
            segments = segments.transitions()
        selected = segments[self.filter.select(segments, generator)]
        return selected.transitions() if self.transitions and not self.filter.per_transition else selected

    def apply_to_block(self, spec: StreamSpec, index: int, block: Tensor, shape: SegmentShape) -> Tensor:
        """Select from block `index` (rows [n, width] of `shape`); the result is the same in every process."""
        segments = self.apply(shape.split(block), self.generator(spec, index, block.device))
        return self.shape(shape).fuse(segments.with_first_action())

    def generator(self, spec: StreamSpec, index: int, device: torch.device) -> torch.Generator:
        """Return a generator seeded for the selection from block `index`."""
        seed = int(fingerprint([spec.fingerprint, index, "admission"]), 16) % 2**63
        return torch.Generator(device).manual_seed(seed)

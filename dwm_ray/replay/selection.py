"""Select the rows of generated segments that a learner trains on."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from dwm_ray.blocks.stream import StreamSpec
from dwm_ray.filters.base import Filter
from dwm_ray.options import fingerprint
from dwm_ray.types import Segments, SegmentShape


@dataclass(frozen=True)
class Selection:
    """Filtered rows, cut to the learner's horizon, as whole segments or as transitions."""

    filter: Filter
    horizon: int
    transitions: bool
    """Whether every step of a selected segment becomes a row of its own (`WorldModel.makes_transitions`)."""
    padded_to: int = 0
    """Horizon that shorter rows are padded to, which leaves every return unchanged. All members of a population learn
    from batches of one shape."""

    @property
    def rows_per_segment(self) -> int:
        """Maximum number of rows from one segment."""
        return self.horizon if self.transitions else 1

    def shape(self, block: SegmentShape) -> SegmentShape:
        """Return the shape of the selected rows."""
        if self.transitions:
            return replace(block, horizon=1, num_actions=1)
        horizon = max(self.horizon, self.padded_to)
        return replace(block, horizon=horizon, num_actions=min(block.num_actions, horizon))

    def apply(self, segments: Segments, generator: torch.Generator) -> Segments:
        """Select from segments; a filter of transitions selects steps, any other filter selects whole segments."""
        segments = segments.prefix(self.horizon)
        if self.transitions and self.filter.per_transition:
            segments = segments.transitions()
        selected = segments[self.filter.select(segments, generator)]
        return selected.transitions() if self.transitions and not self.filter.per_transition else selected

    def apply_to_block(self, spec: StreamSpec, index: int, block: Tensor, shape: SegmentShape) -> Tensor:
        """Select rows [selected, width of `self.shape`] from block `index` [rows, width]; equal in every process."""
        seed = int(fingerprint([spec.fingerprint, index, "selection"]), 16) % 2**63
        segments = self.apply(shape.split(block), torch.Generator(block.device).manual_seed(seed))
        selected = self.shape(shape)
        return selected.fuse(segments.padded(selected.horizon))

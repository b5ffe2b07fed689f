"""Batches of real transitions and imagined segments in an exact proportion (DyDiff's and DAWM's real ratio).

Real rows are brought to the imagined rows' shape once, at construction, so both parts of a batch are gathered straight
into one block of memory.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from dwm_ray.replay.ring import Ring
from dwm_ray.replay.source import BatchSource
from dwm_ray.types import Segments, SegmentShape


class Mixture(BatchSource):
    """A source of batches. Without a synthetic ring all rows are real: model-free learning."""

    def __init__(self, real: Ring, synthetic: Ring | None, real_ratio: float, batch_size: int) -> None:
        """ValueError where the real segments are longer than the imagined ones or have other sizes. Rows that are
        added to the real ring later are not seen where it had to be padded."""
        self._num_real = batch_size if synthetic is None else self.num_real(real_ratio, batch_size)
        self.batch_size = batch_size
        self._real = real if synthetic is None else real.reshaped(synthetic.shape)
        self._synthetic = synthetic

    @staticmethod
    def num_real(real_ratio: float, batch_size: int) -> int:
        """Real rows of every batch, `real_ratio` of it rounded half up; they come first."""
        return math.floor(real_ratio * batch_size + 0.5)

    def next_batch(self, generator: torch.Generator) -> Segments:
        """The next batch, on the device of the rings and the generator. ValueError while imagined rows are wanted and
        there are none: real data never take their place."""
        out = self.new_batch()
        self.draw_into(out, generator)
        return self.shape.split(out)

    def new_batch(self) -> Tensor:
        """Memory [B, width] for `draw_into`."""
        return torch.empty(self.batch_size, self.shape.width, device=self.device)

    @property
    def shape(self) -> SegmentShape:
        """Of all rows."""
        return self._real.shape

    @property
    def device(self) -> torch.device:
        return self._real.device

    def draw_into(self, out: Tensor, generator: torch.Generator) -> None:
        """The next batch as fused rows, into `out` [B, width]; see `next_batch`."""
        if self._num_real > 0:
            self._real.gather_into(out[: self._num_real], generator)
        if self._synthetic is not None and self._num_real < self.batch_size:
            self._synthetic.gather_into(out[self._num_real :], generator)

    def gauges(self) -> dict[str, float]:
        return {} if self._synthetic is None else {"consumed_fraction": self._synthetic.consumed_fraction}

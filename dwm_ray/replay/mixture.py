"""Mix recorded and imagined segments in an exact proportion (the real ratio of DyDiff and DAWM)."""

import math
from typing import Protocol

import torch
from torch import Tensor

from dwm_ray.data.segment_rows import SegmentShape
from dwm_ray.replay.ring import Padding, Ring
from dwm_ray.replay.source import BatchSource


class RowSource(Protocol):
    """Source of recorded rows: a ring of transitions, or recorded futures."""

    @property
    def shape(self) -> SegmentShape: ...

    @property
    def device(self) -> torch.device: ...

    def gather_into(self, out: Tensor, generator: torch.Generator, padding: Padding | None = None) -> object: ...


class Mixture(BatchSource):
    """Batch source of recorded rows and, optionally, a ring of imagined segments, padded to one horizon."""

    def __init__(
        self, real: RowSource, synthetic: Ring | None, real_ratio: float, batch_size: int, horizon: int | None = None
    ) -> None:
        """Pad batches to `horizon` (default: the longer horizon of the rings); raise ValueError if sizes differ."""
        self._num_real = batch_size if synthetic is None else num_real(real_ratio, batch_size)
        self.batch_size, self.device = batch_size, real.device
        self._real, self._synthetic = real, synthetic
        rings: list[RowSource] = [real] if synthetic is None else [real, synthetic]
        self.shape = real.shape.padded(horizon or max(ring.shape.horizon for ring in rings))
        self._paddings = [
            None if ring.shape == self.shape else Padding(ring.shape, self.shape, ring.device) for ring in rings
        ]

    def sample_into(self, rows: Tensor, generator: torch.Generator) -> None:
        """Fill `rows` [B, width], recorded rows first; raise ValueError if the imagined ring is empty."""
        if self._num_real > 0:
            self._real.gather_into(rows[: self._num_real], generator, self._paddings[0])
        if self._synthetic is not None and self._num_real < self.batch_size:
            self._synthetic.gather_into(rows[self._num_real :], generator, self._paddings[1])

    def gauges(self) -> dict[str, float]:
        return {} if self._synthetic is None else {"consumed_fraction": self._synthetic.consumed_fraction}


def num_real(real_ratio: float, batch_size: int) -> int:
    """Return the number of recorded rows per batch, rounded half up."""
    return math.floor(real_ratio * batch_size + 0.5)

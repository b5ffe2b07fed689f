"""Mix recorded and imagined segments in an exact proportion (`real_ratio`, as in DyDiff and DAWM)."""

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
        self, recorded: RowSource, imagined: Ring | None, real_ratio: float, batch_size: int, horizon: int | None = None
    ) -> None:
        """Pad batches to `horizon` (default: the longer horizon of the rings); raise ValueError if sizes differ."""
        self._num_recorded = batch_size if imagined is None else num_recorded(real_ratio, batch_size)
        self.batch_size, self.device = batch_size, recorded.device
        self._recorded, self._imagined = recorded, imagined
        rings: list[RowSource] = [recorded] if imagined is None else [recorded, imagined]
        self.shape = recorded.shape.padded(horizon or max(ring.shape.horizon for ring in rings))
        self._paddings = [
            None if ring.shape == self.shape else Padding(ring.shape, self.shape, ring.device) for ring in rings
        ]

    def sample_into(self, rows: Tensor, generator: torch.Generator) -> None:
        """Fill `rows` [B, width], recorded rows first; raise ValueError if the imagined ring is empty."""
        if self._num_recorded > 0:
            self._recorded.gather_into(rows[: self._num_recorded], generator, self._paddings[0])
        if self._imagined is not None and self._num_recorded < self.batch_size:
            self._imagined.gather_into(rows[self._num_recorded :], generator, self._paddings[1])

    def gauges(self) -> dict[str, float]:
        return {} if self._imagined is None else {"consumed_fraction": self._imagined.consumed_fraction}


def num_recorded(real_ratio: float, batch_size: int) -> int:
    """Return the number of recorded rows per batch, rounded half up."""
    return math.floor(real_ratio * batch_size + 0.5)

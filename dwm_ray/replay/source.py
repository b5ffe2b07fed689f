"""The interface of batch sources."""

from abc import ABC, abstractmethod

import torch
from torch import Tensor

from dwm_ray.data.segment_rows import SegmentShape
from dwm_ray.types import Segments


class BatchSource(ABC):
    """Source of a learner's batches: `batch_size` segments of one `shape`, as fused rows on `device`.

    Sources that refresh their rows while the learner runs also override `begin` and `gauges`.
    """

    batch_size: int
    shape: SegmentShape
    device: torch.device

    @abstractmethod
    def sample_into(self, rows: Tensor, generator: torch.Generator) -> None:
        """Fill `rows` [B, width] with the next batch; the generator is on the source's device."""

    def next_batch(self, generator: torch.Generator) -> Segments:
        """Return the next batch in newly allocated memory."""
        rows = torch.empty(self.batch_size, self.shape.width, device=self.device)
        self.sample_into(rows, generator)
        return self.shape.split(rows)

    def begin(self, update: int) -> None:  # noqa: B027 - optional hook
        """Prepare for the batch of update `update + 1`; called whenever learning continues."""

    def gauges(self) -> dict[str, float]:
        """Return values for the learner's metrics."""
        return {}

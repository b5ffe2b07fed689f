"""A ring of fused segment rows on the learner's device: first in, first out, one gather a batch.

A background thread adds while the learner samples. One lock covers an addition (copy of the rows, then the counters)
and a gather (read of the row count, then the rows), so a batch never sees a row that is half written or a count that
runs ahead of its rows. The lock is held for a block's copy at most, about a millisecond.
"""

from __future__ import annotations

from dataclasses import replace
from threading import Lock

import torch
from torch import Tensor

from dwm_ray.types import Segments, SegmentShape


class Ring:
    """Up to `capacity` rows of one shape. All memory is reserved at once (the operating system commits it page by
    page on a CPU), so that a learner that does not fit fails at its start: ask for what the stream can fill."""

    def __init__(
        self, capacity: int, shape: SegmentShape, device: torch.device | str = "cpu", count_draws: bool = True
    ) -> None:
        """`count_draws` marks what is drawn, for `consumed_fraction`; real data can do without."""
        if capacity < 1:
            raise ValueError(f"ring: capacity is {capacity}, expected at least 1 row")
        self.capacity = capacity
        self.shape = shape
        self.num_added = 0
        self._rows = torch.empty(capacity, shape.width, device=device)
        self._count_draws = count_draws
        self._drawn = torch.zeros(capacity, dtype=torch.bool, device=device)
        self._evicted_drawn = torch.zeros((), dtype=torch.int64, device=device)
        self._lock = Lock()

    @property
    def device(self) -> torch.device:
        return self._rows.device

    @property
    def size(self) -> int:
        """Rows that can be drawn."""
        return min(self.num_added, self.capacity)

    @property
    def consumed_fraction(self) -> float:
        """Fraction of all rows ever added that were drawn at least once; waits for the device."""
        return int(self._evicted_drawn + self._drawn.sum()) / max(self.num_added, 1)

    def add(self, rows: Tensor) -> None:
        """Append rows [n, width] from any device; the oldest go first, and of more rows than fit the last ones stay.
        ValueError for another width."""
        if rows.ndim != 2 or rows.shape[1] != self.shape.width:
            raise ValueError(f"ring: rows are {list(rows.shape)}, expected [n, {self.shape.width}]")
        kept = rows[-self.capacity :]
        with self._lock:
            start = (self.num_added + len(rows) - len(kept)) % self.capacity
            head = min(len(kept), self.capacity - start)
            for place, part in ((slice(start, start + head), kept[:head]), (slice(len(kept) - head), kept[head:])):
                self._rows[place] = part
                self._forget(place)
            self.num_added += len(rows)

    def _forget(self, place: slice) -> None:
        """New rows lie here, that nobody has drawn."""
        self._evicted_drawn += self._drawn[place].sum()
        self._drawn[place] = False

    def gather_into(self, out: Tensor, generator: torch.Generator) -> None:
        """Fill `out` [B, width] with rows drawn uniformly, with replacement. ValueError while the ring is empty. The
        generator lives on the ring's device."""
        with self._lock:
            if self.size == 0:
                raise ValueError("ring: no rows to sample, none were added yet")
            index = torch.randint(self.size, (len(out),), generator=generator, device=self.device)
            torch.index_select(self._rows, 0, index, out=out)
            if self._count_draws:
                self._drawn.index_fill_(0, index, True)

    def sample(self, batch_size: int, generator: torch.Generator) -> Segments:
        """A batch drawn uniformly, with replacement."""
        out = self._rows.new_empty(batch_size, self.shape.width)
        self.gather_into(out, generator)
        return self.shape.split(out)

    def reshaped(self, shape: SegmentShape) -> Ring:
        """A ring of the same segments, padded to the horizon and number of actions of `shape`; itself where they fit.
        ValueError where they cannot be padded to it."""
        if shape == self.shape:
            return self
        if (shape.obs_size, shape.act_size) != (self.shape.obs_size, self.shape.act_size):
            raise ValueError(f"ring: segments of shape {self.shape} cannot be brought to {shape}")
        segments = self.shape.split(self._rows[: self.size]).padded(shape.horizon)
        if self.shape.num_actions == 1:
            segments = replace(segments, act=segments.act.expand(-1, shape.num_actions, -1))
        ring = Ring(self.size, shape, self.device, self._count_draws)
        ring.add(shape.fuse(segments))
        return ring

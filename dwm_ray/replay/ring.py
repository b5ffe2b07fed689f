"""A ring buffer of fused segment rows on the learner's device: first in, first out, one gather per batch.

A background thread adds rows while the learner samples. One lock covers an addition (rows, then counters) and a gather
(row count, then rows), so a batch never contains a half-written row. The lock is held for at most one block's copy,
about a millisecond.
"""

from __future__ import annotations

from threading import Lock

import torch
from torch import Tensor

from dwm_ray.replay.padding import Padding
from dwm_ray.types import Segments, SegmentShape


class Ring:
    """Up to `capacity` rows of one shape.

    All memory is reserved at construction, so a learner that does not fit fails at its start. (On a CPU the operating
    system commits it page by page.)
    """

    def __init__(
        self, capacity: int, shape: SegmentShape, device: torch.device | str = "cpu", count_draws: bool = True
    ) -> None:
        """`count_draws` marks sampled rows for `consumed_fraction`."""
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

    @staticmethod
    def of_recorded(rows: Tensor, shape: SegmentShape) -> Ring:
        """Return a full ring whose memory is `rows` [N, width]: recorded rows are stored once per device."""
        ring = Ring(1, shape, rows.device, count_draws=False)
        ring._rows, ring.capacity, ring.num_added = rows, len(rows), len(rows)
        return ring

    @property
    def device(self) -> torch.device:
        return self._rows.device

    @property
    def size(self) -> int:
        """Number of rows that can be sampled."""
        return min(self.num_added, self.capacity)

    @property
    def consumed_fraction(self) -> float:
        """Fraction of all rows ever added that were sampled at least once; synchronises with the device."""
        return int(self._evicted_drawn + self._drawn.sum()) / max(self.num_added, 1)

    def add(self, rows: Tensor) -> None:
        """Append rows [n, width] from any device in place of the oldest; raise ValueError for another width."""
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
        """Mark the rows at `place` as new."""
        self._evicted_drawn += self._drawn[place].sum()
        self._drawn[place] = False

    def gather_into(self, out: Tensor, generator: torch.Generator, padding: Padding | None = None) -> None:
        """Fill `out` [B, width] with rows drawn uniformly with replacement, padded if `padding` is given.

        The generator is on the ring's device. Raises ValueError if the ring is empty.
        """
        with self._lock:
            if self.size == 0:
                raise ValueError("ring: no rows to sample, none were added yet")
            index = torch.randint(self.size, (len(out),), generator=generator, device=self.device)
            if padding is None:
                torch.index_select(self._rows, 0, index, out=out)
            else:
                padding.write(self._rows.index_select(0, index), out)
            if self._count_draws:
                self._drawn.index_fill_(0, index, True)

    def sample(self, batch_size: int, generator: torch.Generator) -> Segments:
        """Return a batch drawn uniformly with replacement."""
        out = self._rows.new_empty(batch_size, self.shape.width)
        self.gather_into(out, generator)
        return self.shape.split(out)

"""Ring buffer of fused segment rows on the learner's device, and padding of rows while they are gathered.

A background thread adds rows while the learner samples. A lock prevents reads of half-written rows; it is held for the
copy of one block, about a millisecond.
"""

from __future__ import annotations

import math
from dataclasses import replace
from threading import Lock

import torch
from torch import Tensor

from dwm_ray.data.segment_rows import SegmentShape
from dwm_ray.types import Segments

ZERO, ONE, FIRST_COLUMN = 0, 1, 2


class Padding:
    """Column map from rows of one shape to rows of a longer shape, equivalent to `Segments.padded`."""

    def __init__(self, stored: SegmentShape, target: SegmentShape, device: torch.device) -> None:
        """Raise ValueError if segments of shape `stored` cannot be padded to `target`."""
        if replace(stored.padded(target.horizon), has_next_act=target.has_next_act) != target:
            raise ValueError(f"segments of shape {stored} cannot be padded to {target}")
        columns = torch.arange(FIRST_COLUMN, stored.width + FIRST_COLUMN, dtype=torch.float32)[None]
        entries = target.fuse(stored.split(columns).padded(target.horizon))[0].to(device)
        self._columns = (entries.nan_to_num(ZERO).long() - FIRST_COLUMN).clamp(min=0)
        masks = {float(ZERO): entries == ZERO, float(ONE): entries == ONE, math.nan: entries.isnan()}
        self._constants = [(value, torch.nonzero(mask).flatten()) for value, mask in masks.items() if mask.any()]

    def write(self, rows: Tensor, out: Tensor) -> None:
        """Write rows [n, stored width] to `out` [n, target width]."""
        torch.index_select(rows, 1, self._columns, out=out)
        for value, columns in self._constants:
            out.index_fill_(1, columns, value)


class Ring:
    """Up to `capacity` rows of one shape, in memory that is allocated at construction."""

    def __init__(
        self, capacity: int, shape: SegmentShape, device: torch.device | str = "cpu", count_sampled: bool = True
    ) -> None:
        """Allocate the ring; `count_sampled` enables `consumed_fraction`."""
        if capacity < 1:
            raise ValueError(f"ring: capacity is {capacity}; expected at least 1 row")
        self.capacity = capacity
        self.shape = shape
        self.num_added = 0
        self._rows = torch.empty(capacity, shape.width, device=device)
        self._count_sampled = count_sampled
        self._was_sampled = torch.zeros(capacity, dtype=torch.bool, device=device)
        self._evicted_sampled = torch.zeros((), dtype=torch.int64, device=device)
        self._lock = Lock()

    @staticmethod
    def of_recorded(rows: Tensor, shape: SegmentShape) -> Ring:
        """Return a full ring that uses `rows` [N, width] as its memory, without a copy."""
        ring = Ring(1, shape, rows.device, count_sampled=False)
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
        return int(self._evicted_sampled + self._was_sampled.sum()) / max(self.num_added, 1)

    def add(self, rows: Tensor) -> None:
        """Append rows [n, width] from any device, replacing the oldest; raise ValueError for another width."""
        if rows.ndim != 2 or rows.shape[1] != self.shape.width:
            raise ValueError(f"ring: rows are {list(rows.shape)}; expected [n, {self.shape.width}]")
        newest = rows[-self.capacity :]
        with self._lock:
            start = (self.num_added + len(rows) - len(newest)) % self.capacity
            head = min(len(newest), self.capacity - start)
            pieces = ((slice(start, start + head), newest[:head]), (slice(len(newest) - head), newest[head:]))
            for positions, piece in pieces:
                self._rows[positions] = piece
                self._evicted_sampled += self._was_sampled[positions].sum()
                self._was_sampled[positions] = False
            self.num_added += len(rows)

    def gather_into(self, out: Tensor, generator: torch.Generator, padding: Padding | None = None) -> Tensor:
        """Fill `out` [B, width] with rows sampled uniformly with replacement; return their indices [B].

        Raises ValueError if the ring is empty.
        """
        with self._lock:
            if self.size == 0:
                raise ValueError("ring: is empty; expected rows to sample from")
            index = torch.randint(self.size, (len(out),), generator=generator, device=self.device)
            if padding is None:
                torch.index_select(self._rows, 0, index, out=out)
            else:
                padding.write(self._rows.index_select(0, index), out)
            if self._count_sampled:
                self._was_sampled.index_fill_(0, index, True)
        return index

    def sample(self, batch_size: int, generator: torch.Generator) -> Segments:
        """Sample a batch uniformly with replacement."""
        out = self._rows.new_empty(batch_size, self.shape.width)
        self.gather_into(out, generator)
        return self.shape.split(out)

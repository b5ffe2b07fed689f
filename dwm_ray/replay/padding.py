"""Pad fused segment rows to a longer horizon while they are gathered, so that every row is stored once."""

from __future__ import annotations

import torch
from torch import Tensor

from dwm_ray.types import SegmentShape

ZERO, ONE, FIRST_COLUMN = 0, 1, 2


class Padding:
    """Column map from rows of one shape to rows of a longer shape, equal to `Segments.padded`."""

    def __init__(self, stored: SegmentShape, wanted: SegmentShape, device: torch.device) -> None:
        """Raise ValueError if segments of shape `stored` cannot be padded to `wanted`."""
        if stored.padded(wanted.horizon) != wanted:
            raise ValueError(f"segments of shape {stored} cannot be padded to {wanted}")
        marks = torch.arange(FIRST_COLUMN, stored.width + FIRST_COLUMN, dtype=torch.float32)[None]
        entries = wanted.fuse(stored.split(marks).padded(wanted.horizon))[0].long().to(device)
        self._columns = (entries - FIRST_COLUMN).clamp(min=0)
        self._zeros, self._ones = (torch.nonzero(entries == value).flatten() for value in (ZERO, ONE))

    def write(self, rows: Tensor, out: Tensor) -> None:
        """Write rows [n, stored width] to `out` [n, wanted width]."""
        torch.index_select(rows, 1, self._columns, out=out)
        out.index_fill_(1, self._zeros, 0.0)
        out.index_fill_(1, self._ones, 1.0)

"""Pad fused segment rows to a longer horizon when they are gathered, so that every row is stored only once."""

import math
from dataclasses import replace

import torch
from torch import Tensor

from dwm_ray.data.segment_rows import SegmentShape

ZERO, ONE, FIRST_COLUMN = 0, 1, 2


class Padding:
    """Column map from rows of one shape to rows of a longer shape, equivalent to `Segments.padded`."""

    def __init__(self, stored: SegmentShape, wanted: SegmentShape, device: torch.device) -> None:
        """Raise ValueError if segments of shape `stored` cannot be padded to `wanted`."""
        if replace(stored.padded(wanted.horizon), has_next_act=wanted.has_next_act) != wanted:
            raise ValueError(f"segments of shape {stored} cannot be padded to {wanted}")
        marks = torch.arange(FIRST_COLUMN, stored.width + FIRST_COLUMN, dtype=torch.float32)[None]
        entries = wanted.fuse(stored.split(marks).padded(wanted.horizon))[0].to(device)
        self._columns = (entries.nan_to_num(ZERO).long() - FIRST_COLUMN).clamp(min=0)
        masks = {float(ZERO): entries == ZERO, float(ONE): entries == ONE, math.nan: entries.isnan()}
        self._constants = [(value, torch.nonzero(mask).flatten()) for value, mask in masks.items() if mask.any()]

    def write(self, rows: Tensor, out: Tensor) -> None:
        """Write rows [n, stored width] to `out` [n, wanted width]."""
        torch.index_select(rows, 1, self._columns, out=out)
        for value, columns in self._constants:
            out.index_fill_(1, columns, value)

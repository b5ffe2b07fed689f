"""Segments as fused float32 rows, the format of blocks and rings: one copy and one gather per batch."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from dwm_ray.types import Segments


@dataclass(frozen=True)
class SegmentShape:
    """Layout of segments in fused rows."""

    horizon: int
    obs_size: int
    act_size: int
    num_actions: int
    has_next_act: bool = False

    @property
    def parts(self) -> tuple[int, ...]:
        """Width of each field of `Segments`, in its order."""
        h, next_act_width = self.horizon, (self.act_size,) if self.has_next_act else ()
        return ((h + 1) * self.obs_size, self.num_actions * self.act_size, h, h, h, 1, *next_act_width)

    @property
    def width(self) -> int:
        """Entries per row."""
        return sum(self.parts)

    def padded(self, horizon: int) -> SegmentShape:
        """Return the shape of `Segments.padded(horizon)`."""
        return replace(self, horizon=horizon, num_actions=1 if self.num_actions == 1 else horizon)

    @staticmethod
    def of(segments: Segments) -> SegmentShape:
        """Return the layout of the given segments."""
        (_, num_actions, act_size), has_next_act = segments.act.shape, segments.next_act is not None
        return SegmentShape(segments.horizon, segments.obs.shape[2], act_size, num_actions, has_next_act)

    def fuse(self, segments: Segments) -> Tensor:
        """Return segments as rows [B, width]; a `next_act` that they lack is NaN."""
        if self.has_next_act and segments.next_act is None:
            segments = replace(segments, next_act=segments.rew.new_full((len(segments), self.act_size), torch.nan))
        pairs = zip(segments.tensors().values(), self.parts, strict=False)
        return torch.cat([tensor.reshape(len(segments), width).float() for tensor, width in pairs], dim=1)

    def split(self, rows: Tensor) -> Segments:
        """Return the segments in rows [..., B, width] as views, without a copy."""
        obs, act, rew, discount, penalty, source, *next_act = rows.split(self.parts, dim=-1)
        return Segments(
            obs.unflatten(-1, (self.horizon + 1, self.obs_size)),
            act.unflatten(-1, (self.num_actions, self.act_size)),
            rew,
            discount,
            penalty,
            source.squeeze(-1),
            *next_act,
        )

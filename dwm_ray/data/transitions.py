"""Recorded transitions as segments of length 1, so that agents receive one kind of batch."""

from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from dwm_ray.data.chunks import chunks
from dwm_ray.data.mapped import new_rows
from dwm_ray.data.segment_rows import SegmentShape
from dwm_ray.types import Episodes, Segments


def real_segments(episodes: Episodes, discount: float, device: torch.device | str = "cpu") -> Segments:
    """Return all transitions as segments (H = 1, M = 1, source 0), as views of `fused_rows`."""
    rows, shape = fused_rows(episodes, discount, torch.device(device), False)
    return shape.split(rows)


@lru_cache(maxsize=2)
def fused_rows(
    episodes: Episodes, discount: float, device: torch.device, with_next_act: bool
) -> tuple[Tensor, SegmentShape]:
    """Return all transitions as fused rows [N, width] on `device`. They are cached; do not modify them.

    `discount` is gamma. It is 0 after a termination and gamma after a truncation. A row without a next observation is
    omitted unless it terminated, because no value follows a termination. `with_next_act` adds `Segments.next_act`.
    """
    indices, spaces = np.flatnonzero(usable_rows(episodes)), episodes.spaces
    shape = SegmentShape(1, spaces.obs_size, spaces.act_size, 1, with_next_act)

    def fill(out: np.ndarray) -> None:
        for chunk in chunks(len(indices)):
            out[chunk] = shape.fuse(_segments(episodes, indices[chunk], discount, with_next_act)).numpy()

    rows = new_rows(episodes, f"{discount}-{with_next_act}", (len(indices), shape.width), fill)
    return torch.from_numpy(rows).to(device), shape


def _segments(episodes: Episodes, rows: np.ndarray, discount: float, with_next_act: bool) -> Segments:
    """Return the transitions of some rows."""
    next_act = None
    if with_next_act:  # the action recorded next, NaN after the last one of an episode
        next_act = episodes.act[np.minimum(rows + 1, len(episodes.act) - 1)]
        next_act[(episodes.terminated | episodes.truncated)[rows]] = np.nan
    obs, next_obs, act = (torch.from_numpy(x[rows]) for x in (episodes.obs, episodes.next_obs, episodes.act))
    rew, terminated = (torch.from_numpy(x[rows]).unsqueeze(1) for x in (episodes.rew, episodes.terminated))
    return Segments(
        obs=torch.stack([obs, next_obs], dim=1),
        act=act.unsqueeze(1),
        rew=rew,
        discount=discount * (~terminated).float(),
        penalty=torch.zeros_like(rew),
        source=torch.zeros(len(rew)),
        next_act=None if next_act is None else torch.from_numpy(next_act),
    )


@lru_cache(maxsize=2)
def last_steps(episodes: Episodes, device: torch.device) -> tuple[Tensor, int]:
    """Return the last row of the recorded future of each row of `fused_rows`, and the length of the longest future.

    Row indices are [N] int64 on `device`. They are cached; do not modify them. A future ends with its episode, or
    before an omitted row.
    """
    rows = np.flatnonzero(usable_rows(episodes))
    is_last = np.append(np.diff(rows) > 1, True) | (episodes.terminated | episodes.truncated)[rows]
    ends = np.flatnonzero(is_last)
    lengths = np.diff(ends, prepend=-1)
    return torch.from_numpy(np.repeat(ends, lengths)).to(device), int(lengths.max())


def num_start_pairs(episodes: Episodes) -> int:
    """Return the number of start pairs: the transitions of `usable_rows`."""
    return int(np.count_nonzero(usable_rows(episodes)))


def usable_rows(episodes: Episodes) -> np.ndarray:
    """Return the mask [N] of the rows that are transitions: their next state is known, or they terminated."""
    return episodes.known_next | episodes.terminated

"""What agents and models may know of real data: moments, ranges and returns-to-go, computed once."""

from __future__ import annotations

import numpy as np

from dwm_ray.types import DataStats, Episodes


def return_to_go(episodes: Episodes, discount: float) -> np.ndarray:
    """[N] float32: discounted reward from each row to the end of its recorded episode, summed in float64."""
    ends = (episodes.terminated | episodes.truncated).tolist()
    rewards = episodes.rew.astype(np.float64).tolist()
    out = np.empty(len(rewards))
    total = 0.0
    for row in range(len(rewards) - 1, -1, -1):  # plain floats: ten times faster here than numpy scalars
        total = rewards[row] + (0.0 if ends[row] else discount * total)
        out[row] = total
    return out.astype(np.float32)


def describe(episodes: Episodes, discount: float) -> DataStats:
    """The statistics of a data set; `discount` (gamma) enters the returns-to-go only."""
    returns = episodes.returns()
    rtg = return_to_go(episodes, discount)
    return DataStats(
        obs_mean=episodes.obs.mean(0, dtype=np.float64).astype(np.float32),
        obs_std=episodes.obs.std(0, dtype=np.float64).astype(np.float32),
        rew_min=float(episodes.rew.min()),
        rew_max=float(episodes.rew.max()),
        return_min=float(returns.min()),
        return_max=float(returns.max()),
        rtg_min=float(rtg.min()),
        rtg_max=float(rtg.max()),
    )

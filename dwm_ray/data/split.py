"""Parts of a data set by whole episodes, so that no window of the hold-out was seen in training."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from dwm_ray.data.checks import with_fingerprint
from dwm_ray.types import Episodes


def take(episodes: Episodes, chosen: np.ndarray) -> Episodes:
    """The episodes with these numbers [K] (in file order), under a fingerprint of their own."""
    keep = np.zeros(episodes.num_episodes, dtype=bool)
    keep[chosen] = True
    rows = np.repeat(keep, np.diff(episodes.offsets))
    names = ("obs", "act", "rew", "next_obs", "terminated", "truncated", "known_next")
    return with_fingerprint(replace(episodes, **{name: getattr(episodes, name)[rows] for name in names}))


def split_episodes(episodes: Episodes, holdout_ratio: float, seed: int = 0) -> tuple[Episodes, Episodes]:
    """(train, hold-out): a random `holdout_ratio` of the episodes, at least one on each side, is held out."""
    total = episodes.num_episodes
    if total < 2:
        raise ValueError(f"{episodes.card.path}: one episode cannot be split into training and hold-out data")
    num_holdout = min(max(1, round(holdout_ratio * total)), total - 1)
    order = np.random.default_rng(seed).permutation(total)
    return take(episodes, order[num_holdout:]), take(episodes, order[:num_holdout])

"""Subsets of a dataset by whole episodes, so that no held-out window overlaps the training data."""

from dataclasses import replace

import numpy as np

from dwm_ray.data.content import ARRAYS, with_fingerprint
from dwm_ray.types import Episodes

PARTS = 20
"""Number of equal parts into which a single episode is split for estimates."""


def rows_of(episodes: Episodes, indices: np.ndarray) -> np.ndarray:
    """Return the mask [N] of the rows of the episodes with these `indices` [K]."""
    mask = np.zeros(episodes.num_episodes, dtype=bool)
    mask[indices] = True
    return np.repeat(mask, np.diff(episodes.offsets))


def take(episodes: Episodes, indices: np.ndarray) -> Episodes:
    """Return the episodes with these `indices` [K] in file order, with a fingerprint of their own."""
    rows = rows_of(episodes, indices)
    return with_fingerprint(replace(episodes, **{name: getattr(episodes, name)[rows] for name in ARRAYS}))


def split_indices(episodes: Episodes, holdout_ratio: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the indices of training and held-out episodes, at least one each, chosen at random with a fixed seed."""
    total = episodes.num_episodes
    if total < 2:
        raise ValueError(f"{episodes.card.path}: one episode cannot be split; expected two, or {PARTS} steps")
    num_holdout = min(max(1, round(holdout_ratio * total)), total - 1)
    order = np.random.default_rng(0).permutation(total)
    return order[num_holdout:], order[:num_holdout]


def split_for_estimates(episodes: Episodes, holdout_ratio: float) -> tuple[Episodes, np.ndarray, np.ndarray]:
    """Return episodes, and the indices of the training and the held-out ones, at least one each.

    A single episode is split into `PARTS`, as if by a time limit, and the last ones are held out.
    """
    if episodes.num_episodes > 1 or episodes.num_transitions < PARTS:
        return episodes, *split_indices(episodes, holdout_ratio)
    truncated, bounds = episodes.truncated.copy(), np.linspace(0, episodes.num_transitions, PARTS + 1, dtype=int)
    truncated[bounds[1:-1] - 1] = True
    first = PARTS - min(max(1, round(holdout_ratio * PARTS)), PARTS - 1)
    return replace(episodes, truncated=truncated), np.arange(first), np.arange(first, PARTS)


def split_rows(episodes: Episodes, holdout_ratio: float, length: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the masks [N] of the rows at which training and held-out windows of `length` states start.

    If there is only one episode, its last rows are held out, and no training window reaches them.
    """
    if episodes.num_episodes > 1:
        train, holdout = split_indices(episodes, holdout_ratio)
        return rows_of(episodes, train), rows_of(episodes, holdout)
    total = episodes.num_transitions
    first = total - max(1, round(holdout_ratio * total))
    if first < length:
        raise ValueError(
            f"{episodes.card.path}: its only episode of {total} steps is too short to hold out a part of it; expected "
            f"more than {length} steps before that part, or at least two episodes"
        )
    rows = np.arange(total)
    return rows <= first - length, rows >= first


def split_episodes(episodes: Episodes, holdout_ratio: float) -> tuple[Episodes, Episodes]:
    """Return the training and the held-out episodes of `split_indices`."""
    train, holdout = split_indices(episodes, holdout_ratio)
    return take(episodes, train), take(episodes, holdout)

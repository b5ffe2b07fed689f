"""Statistics over runs (seeds) and tasks with confidence intervals, after Agarwal et al. (arXiv 2108.13264).

Scores of one method are a list with one array [runs] per task; a run's score is its mean over evaluation episodes.
Interquartile mean: section 4.3; probability of improvement: section 4.3, the Mann-Whitney U statistic; intervals:
percentile bootstrap, stratified by task (section 4.1). Differences from the paper's `rliable`: 2000 resamples instead
of 50 000, and tasks may have different numbers of runs.

Percentile intervals of few runs are too narrow: for normal scores, a 95 % interval of the mean covers the true mean
in about 50 % (2 runs), 75 % (3), 85 % (5), 90 % (10), 93 % (20) of the cases.
"""

from collections.abc import Callable, Sequence

import numpy as np

from dwm_ray.types import Json

NUM_RESAMPLES = 2000
LEVEL = 0.95

Scores = Sequence[np.ndarray]
"""One array [..., runs] per task; leading axes are resamples."""
Statistic = Callable[[Scores], np.ndarray]
"""Reduction over runs and tasks: scores [..., runs] per task -> [...]."""


def interquartile_mean(scores: np.ndarray) -> np.ndarray:
    """Return the mean of the middle half along the last axis; floor(n / 4) values are dropped at either end."""
    ordered = np.sort(np.asarray(scores, np.float64), axis=-1)
    cut = ordered.shape[-1] // 4
    return ordered[..., cut : ordered.shape[-1] - cut].mean(axis=-1)


def mean(scores: Scores) -> np.ndarray:
    """Return the mean over tasks of the mean over runs, so that all tasks have the same weight."""
    return np.mean([np.mean(runs, axis=-1) for runs in scores], axis=0)


def iqm(scores: Scores) -> np.ndarray:
    """Return the interquartile mean of the pooled runs of all tasks, whose scores must have one unit."""
    return interquartile_mean(np.concatenate(list(scores), axis=-1))


def improvement(ours: Scores, theirs: Scores) -> np.ndarray:
    """Return P(X > Y) that a run of ours beats one of theirs on a random task; a tie counts one half."""
    pairs = [(x[..., :, None], y[..., None, :]) for x, y in zip(ours, theirs, strict=True)]
    return np.mean([((x > y) + 0.5 * (x == y)).mean(axis=(-2, -1)) for x, y in pairs], axis=0)


def resamples(scores: Scores, generator: np.random.Generator) -> list[np.ndarray]:
    """Sample runs with replacement within each task (strata), [NUM_RESAMPLES, runs] per task."""
    if not scores or any(len(runs) == 0 for runs in scores):
        raise ValueError(f"scores: {[len(runs) for runs in scores]} runs per task; expected one or more in each")
    samples = [generator.integers(len(runs), size=(NUM_RESAMPLES, len(runs))) for runs in scores]
    return [np.asarray(runs, np.float64)[rows] for runs, rows in zip(scores, samples, strict=True)]


def estimate(statistic: Callable[..., np.ndarray], *methods: Scores) -> Json:
    """Return value, low and high: a statistic of one method, or of two, and its bootstrap interval; reproducible.

    The interval is None if a task has a single run, because it would have no width. Raises ValueError without runs.
    """
    generator = np.random.default_rng(0)
    resampled = [resamples(scores, generator) for scores in methods]
    value = float(statistic(*methods))
    if min(len(runs) for scores in methods for runs in scores) < 2:
        return {"value": value, "low": None, "high": None}
    low, high = np.quantile(statistic(*resampled), [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return {"value": value, "low": float(low), "high": float(high)}

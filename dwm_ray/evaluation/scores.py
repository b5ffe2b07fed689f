"""From episode returns to what is reported: D4RL-normalised scores, their spread and an interval.

Every statistic is taken over per-episode scores. The interquartile mean and its percentile-bootstrap interval follow
Agarwal et al. (arXiv 2108.13264), here over one flat list of scores instead of strata of tasks.
"""

from __future__ import annotations

import numpy as np

from dwm_ray.tasks import TaskSpec

NUM_RESAMPLES = 2000


def summarize(returns: np.ndarray, task: TaskSpec) -> dict[str, float | int]:
    """Means and population standard deviations of E returns and of their scores (raw returns without references)."""
    if len(returns) == 0:
        raise ValueError("returns: there are no episodes to summarize")
    scores = np.array([task.score(float(value)) for value in returns])
    return {
        "score_mean": float(scores.mean()),
        "score_std": float(scores.std()),
        "return_mean": float(np.mean(returns)),
        "return_std": float(np.std(returns)),
        "episodes": len(returns),
    }


def interquartile_mean(scores: np.ndarray) -> np.ndarray:
    """Mean of the middle half along the last axis: floor(n / 4) values are dropped at either end."""
    ordered = np.sort(np.asarray(scores, np.float64), axis=-1)
    cut = ordered.shape[-1] // 4
    return ordered[..., cut : ordered.shape[-1] - cut].mean(axis=-1)


def bootstrap_interval(scores: np.ndarray, generator: np.random.Generator, level: float = 0.95) -> tuple[float, float]:
    """(low, high): percentile-bootstrap confidence interval of the interquartile mean of scores [n]."""
    if len(scores) == 0 or not 0 < level < 1:
        raise ValueError(f"interval of {len(scores)} scores at level {level}: expected scores and a level in (0, 1)")
    rows = generator.integers(len(scores), size=(NUM_RESAMPLES, len(scores)))
    low, high = np.quantile(interquartile_mean(np.asarray(scores)[rows]), [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)

"""From the episode returns of one run to its score: D4RL-normalised, with its spread over episodes.

Statistics over runs and tasks are in `stats`.
"""

from __future__ import annotations

import numpy as np

from dwm_ray.tasks.table import TaskSpec


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

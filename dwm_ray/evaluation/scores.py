"""Score of one run from the returns of its episodes; statistics over runs and tasks are in `stats`."""

from __future__ import annotations

import numpy as np

from dwm_ray.tasks.table import TaskSpec


def summarize(returns: np.ndarray, task: TaskSpec) -> dict[str, float | int]:
    """Return means and population standard deviations of E returns and of their scores in `task.score_unit`."""
    if len(returns) == 0:
        raise ValueError("returns: no episodes to summarize; expected at least one")
    scores = np.array([task.score(float(value)) for value in returns])
    return {
        "score_mean": float(scores.mean()),
        "score_std": float(scores.std()),
        "return_mean": float(np.mean(returns)),
        "return_std": float(np.std(returns)),
        "episodes": len(returns),
    }

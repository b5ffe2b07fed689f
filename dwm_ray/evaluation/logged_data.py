"""Recorded rows from which off-policy estimates are made: training transitions, and held-out states and starts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from dwm_ray.config import RunConfig
from dwm_ray.data.split import rows_of, split_for_estimates
from dwm_ray.data.statistics import return_to_go
from dwm_ray.data.task_data import TaskData
from dwm_ray.data.transitions import usable_rows
from dwm_ray.evaluation.model_error import units
from dwm_ray.types import DataStats, Segments, Spaces, Termination

MAX_ROWS, MAX_STATES = 20_000, 5000
"""Training transitions of an estimate, and held-out states whose actions are compared, both sampled at random."""
MAX_PLANNED = 2000
"""The same for agents that plan, whose actions cost a thousand times as much."""


@dataclass(frozen=True, eq=False)
class LoggedData:
    """Rows of a dataset on one device, in raw units."""

    train: Segments
    """N transitions of training episodes (H = 1). A timeout has the discount of any other step, so that values are
    bootstrapped there; a termination has discount 0. Transitions without a known next state are left out."""
    rtg: Tensor  # [N] recorded discounted return-to-go
    starts: Tensor  # [E, O] first states of the held-out episodes
    states: Tensor  # [M, O] held-out states
    actions: Tensor  # [M, A] recorded there
    obs_low: Tensor  # [O]
    obs_high: Tensor  # [O]
    act_unit: Tensor  # [A] standard deviations; inf where constant
    spaces: Spaces
    stats: DataStats
    discount: float
    termination: Termination

    @staticmethod
    def of(config: RunConfig, task_data: TaskData, device: torch.device) -> LoggedData:
        """Return the rows of a run; raise ValueError for a single episode that is too short to be cut."""
        discount = config.training.discount
        episodes, train, holdout = split_for_estimates(task_data.episodes, config.data.holdout_ratio)
        rng, limit = np.random.default_rng(0), MAX_PLANNED if config.agent.plugin.plans else None
        usable, held_out = usable_rows(episodes), np.flatnonzero(rows_of(episodes, holdout))
        train_rows = _some(np.flatnonzero(rows_of(episodes, train)[usable]), limit or MAX_ROWS, rng)
        holdout_rows = _some(held_out, limit or MAX_STATES, rng)

        def rows(array: np.ndarray) -> Tensor:
            return torch.from_numpy(np.asarray(array, np.float32)).to(device)

        return LoggedData(
            train=task_data.start_pairs(discount, device)[torch.from_numpy(train_rows).to(device)],
            rtg=rows(return_to_go(task_data.episodes, discount)[usable][train_rows]),
            starts=rows(episodes.obs[episodes.offsets[:-1][holdout]]),
            states=rows(episodes.obs[holdout_rows]),
            actions=rows(episodes.act[holdout_rows]),
            obs_low=rows(episodes.obs.min(0)),
            obs_high=rows(episodes.obs.max(0)),
            act_unit=rows(units(episodes.act.std(0))),
            spaces=episodes.spaces,
            stats=task_data.stats,
            discount=discount,
            termination=task_data.task.termination,
        )


def _some(numbers: np.ndarray, limit: int, rng: np.random.Generator) -> np.ndarray:
    """Return at most `limit` of the numbers, sampled without replacement, in order."""
    return numbers if len(numbers) <= limit else np.sort(rng.choice(numbers, limit, replace=False))

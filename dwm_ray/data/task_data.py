"""What a run is about: the data it learns from, the task that they belong to, and the model that fits them.

One process and the cluster build these the same way, from a `RunConfig` alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from dwm_ray.config import RunConfig
from dwm_ray.data.load import load_episodes
from dwm_ray.data.split import split_episodes
from dwm_ray.data.statistics import describe
from dwm_ray.data.windows import RtgKind, WindowSet
from dwm_ray.tasks.table import TaskSpec, task_for
from dwm_ray.types import DataStats, Episodes


@dataclass(frozen=True)
class TaskData:
    """Loaded data, with what was computed from them once."""

    episodes: Episodes
    task: TaskSpec
    stats: DataStats

    @staticmethod
    def of(config: RunConfig, episodes: Episodes) -> TaskData:
        """What a run has to do with episodes that are loaded already."""
        stats = describe(episodes, config.training.discount)
        return_scale = max(abs(stats.rtg_min), abs(stats.rtg_max))  # tasks without a printed scale: labels in -1..1
        return TaskData(episodes, task_for(config.task, episodes.card.env_id, return_scale), stats)

    @property
    def ends_unexplained(self) -> bool:
        """Do the data have terminations that no rule of the task tells?"""
        return not self.task.termination_known and bool(self.episodes.terminated.any())

    @property
    def identity(self) -> DataIdentity:
        return DataIdentity(self.episodes.card.fingerprint, self.task.rtg_scale)


@dataclass(frozen=True)
class DataIdentity:
    """What other processes need to know of the data to name what is made from them."""

    fingerprint: str
    rtg_scale: float


def load_task_data(config: RunConfig, expect: str | None = None) -> TaskData:
    """Load a run's data. `expect` is the fingerprint that another process saw: other content is an error."""
    episodes = load_episodes(config.task, config.data)
    if expect is not None and episodes.card.fingerprint != expect:
        raise ValueError(
            f"{episodes.card.path}: this machine holds other data (fingerprint {episodes.card.fingerprint}) than the "
            f"run was started with ({expect}); every node needs the same file"
        )
    return TaskData.of(config, episodes)


def window_sets(
    config: RunConfig, task_data: TaskData, length: int, device: torch.device
) -> tuple[WindowSet, WindowSet]:
    """Training and held-out windows of `length` states; whole episodes are held out."""
    kind: RtgKind = getattr(config.world_model, "rtg_kind", "episode")
    discount, scale = config.training.discount, task_data.task.rtg_scale
    train, holdout = split_episodes(task_data.episodes, config.data.holdout_ratio)
    return (
        WindowSet(train, length, discount, scale, kind, device),
        WindowSet(holdout, length, discount, scale, kind, device),
    )

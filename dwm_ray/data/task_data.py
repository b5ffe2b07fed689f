"""The task data of a run: its data, their task and their statistics, loaded according to `RunOptions`."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from dwm_ray.data.load import load_episodes
from dwm_ray.data.split import split_rows
from dwm_ray.data.statistics import data_stats
from dwm_ray.data.transitions import num_start_pairs, real_segments
from dwm_ray.data.windows import RtgKind, WindowSet, start_labels, target_rtg_of
from dwm_ray.options import PluginConfig, RunOptions
from dwm_ray.tasks.table import TaskSpec, task_for
from dwm_ray.types import DataStats, Episodes, Segments


@dataclass(frozen=True)
class TaskData:
    """Loaded data with their task and statistics."""

    episodes: Episodes
    task: TaskSpec
    stats: DataStats

    @staticmethod
    def of(config: RunOptions, episodes: Episodes) -> TaskData:
        """Return the task data of a run with loaded episodes.

        Raises ValueError if the run's world model learns from windows but the rows are not ordered.
        """
        length = getattr(config.world_model, "sequence_length", 1)
        if length > 2 and not episodes.card.is_ordered:
            raise ValueError(
                f"{episodes.card.path}: the rows are not in chronological order, so there are no windows of {length} "
                "states for the world model; expected ordered rows, or a method that learns from single "
                "transitions, such as --world-model none or one_step"
            )
        stats = data_stats(episodes, config.training.discount)
        return_scale = max(abs(stats.rtg_min), abs(stats.rtg_max))  # for tasks without a published scale
        card = episodes.card
        return TaskData(episodes, task_for(config.task, card.env_id, return_scale, card.env_options), stats)

    @property
    def has_unexplained_terminations(self) -> bool:
        """Whether episodes terminate although the termination rule of the task is unknown."""
        return not self.task.termination_known and bool(self.episodes.terminated.any())

    @cached_property
    def identity(self) -> DataIdentity:
        """Identity of the data in the fingerprints of artefacts."""
        num_pairs, simulated = num_start_pairs(self.episodes), self.task.env_id is not None
        return DataIdentity(self.episodes.card.fingerprint, self.task.rtg_scale, num_pairs, simulated)

    def start_pairs(self, discount: float, device: torch.device) -> Segments:
        """Return all recorded transitions as segments of length 1. They are cached; do not modify them."""
        return real_segments(self.episodes, discount, device)

    def start_labels(self, discount: float, model: PluginConfig | None) -> np.ndarray:
        """Return the return-to-go labels [N] of `start_pairs` for a world model; cached."""
        kind, length = _labels_of(model), getattr(model, "sequence_length", 1)
        return start_labels(self.episodes, discount, self.task.rtg_scale, kind, length)

    def start_rtg(
        self, target: float | str, discount: float, model: PluginConfig | None, device: torch.device
    ) -> Tensor:
        """Return the return-to-go [N] of `start_pairs` for a `synthesis.target_rtg`."""
        if isinstance(target, float):  # needs no labels
            return torch.tensor(target, device=device).expand(self.identity.num_pairs)
        return target_rtg_of(target, self.start_labels(discount, model), device)


@dataclass(frozen=True)
class DataIdentity:
    """Properties of a dataset that identify the artefacts made from it."""

    fingerprint: str
    rtg_scale: float
    num_pairs: int
    """Start pairs of streams; names of world models do not depend on it."""
    has_environment: bool = True


def load_task_data(config: RunOptions, expect: str | None = None) -> TaskData:
    """Load the data of a run; raise ValueError if their fingerprint is not `expect`."""
    episodes = load_episodes(config.task, config.data, config.execution.download)
    if expect is not None and episodes.card.fingerprint != expect:
        raise ValueError(
            f"{episodes.card.path}: this machine holds other data (fingerprint {episodes.card.fingerprint}) than the "
            f"run was started with; expected the same file on every node (fingerprint {expect})"
        )
    return TaskData.of(config, episodes)


def all_windows(config: RunOptions, task_data: TaskData, length: int, device: torch.device) -> WindowSet:
    """Return all windows of `length` states, with the return-to-go labels of the run's world model."""
    kind, scale = _labels_of(config.world_model), task_data.task.rtg_scale
    return WindowSet(task_data.episodes, length, config.training.discount, scale, kind, device)


def _labels_of(model: PluginConfig | None) -> RtgKind:
    """Return the kind of return-to-go labels that a world model is trained with."""
    return getattr(model, "rtg_kind", "episode")


def window_sets(
    config: RunOptions, task_data: TaskData, length: int, device: torch.device
) -> tuple[WindowSet, WindowSet]:
    """Return the training and the held-out part of `all_windows`, which share one table of states."""
    windows, episodes = all_windows(config, task_data, length, device), task_data.episodes
    train, holdout = split_rows(episodes, config.data.holdout_ratio, length)
    return windows.starting_at(train), windows.starting_at(holdout)

"""Many trials in one process, without Ray: those that can learn in step do so as a population, the others one by one.

A trial's folder holds what `run.run` would leave in it.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

import torch
from rich.console import Console

from dwm_ray.blocks.counters import Counters
from dwm_ray.cli.progress import watched
from dwm_ray.config import RunConfig
from dwm_ray.data.task_data import TaskData
from dwm_ray.experiment.grouping import groups_of
from dwm_ray.experiment.search_space import Trial
from dwm_ray.local.populations import run_population
from dwm_ray.local.run import run
from dwm_ray.runs.folder import RunFolder
from dwm_ray.training.agent import NonFiniteLoss
from dwm_ray.types import Episodes


def run_here(
    console: Console, trials: Sequence[Trial], run: RunFolder, episodes: Episodes, most_members: int = 1
) -> None:
    """Run trials, with the progress on show and the run's counters kept; see `run_all`."""
    # Networks this small run ten times slower on two threads as soon as another process wants a core.
    torch.set_num_threads(1)
    counters = Counters.local(run)
    with watched(run, len(trials), console, counters.update):
        run_all([trial.config for trial in trials], run, episodes, most_members)
    counters.write()


def run_all(configs: Sequence[RunConfig], folder: RunFolder, episodes: Episodes, most_members: int) -> None:
    """Run all configurations, which learn from the same episodes; one that diverges is recorded in its trial's folder
    and does not stop the rest. A trial that was begun goes on from its last checkpoint."""
    for group in groups_of(configs, folder, most_members):
        task_data = TaskData.of(group[0], episodes)
        if len(group) > 1:
            run_population(group, folder, task_data)
        else:
            with suppress(NonFiniteLoss):
                run(group[0], folder, task_data)

"""The executor without Ray: run trials in this process, as populations if possible."""

from collections.abc import Sequence

import torch

from dwm_ray.blocks.counters import Counters
from dwm_ray.config import RunConfig
from dwm_ray.data.task_data import TaskData
from dwm_ray.experiment.grouping import groups_of
from dwm_ray.experiment.plan import SweepConfig
from dwm_ray.experiment.search_space import Trial
from dwm_ray.local.services import LocalServices
from dwm_ray.runs.folder import RunFolder
from dwm_ray.training.trials import train_trials
from dwm_ray.types import Episodes


class LocalExecutor:
    """Executor of trials that learn from the same episodes."""

    def __init__(self, run: RunFolder, episodes: Episodes) -> None:
        self._run, self._episodes = run, episodes
        self.processes, self.cpus = 1, 1.0
        self.counters = Counters.local(run)

    def run_one(self, trial: Trial) -> None:
        """Run a trial; its result is in its folder."""
        self.run([trial])

    def run(self, trials: Sequence[Trial], max_members: int = 1, sweep: SweepConfig | None = None) -> None:
        """Run trials in populations of up to `max_members`; `sweep` is not used, because there is no scheduler."""
        run_configs([trial.config for trial in trials], self._run, self._episodes, max_members)


def run_configs(configs: Sequence[RunConfig], run: RunFolder, episodes: Episodes, max_members: int = 1) -> None:
    """Run configurations, each from its last checkpoint, in populations of up to `max_members`."""
    # On two threads, small networks are ten times slower if another process uses a core.
    torch.set_num_threads(1)
    for group in groups_of(configs, run, max_members):
        task_data = TaskData.of(group[0], episodes)
        train_trials(group, task_data, run, LocalServices(task_data, run))

"""Choose the executor of a program and show the progress of its trials."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from importlib.util import find_spec
from typing import Any

from rich.console import Console

from dwm_ray.cli.progress import watched
from dwm_ray.config import RunConfig
from dwm_ray.data.task_data import TaskData
from dwm_ray.local.executor import LocalExecutor
from dwm_ray.runs.folder import RunFolder


@contextmanager
def executor(
    console: Console, config: RunConfig, run: RunFolder, task_data: TaskData, num_trials: int, in_process: bool
) -> Iterator[Any]:
    """Return a LocalExecutor or RayExecutor; show the run's progress and update its counters."""
    if in_process:
        with _shown(console, run, num_trials, LocalExecutor(run, task_data.episodes)) as chosen:
            yield chosen
        return
    require_ray()
    from dwm_ray.distributed.executor import ray_executor  # Ray is optional for everything else

    log = partial(console.print, highlight=False, soft_wrap=True)
    with (
        ray_executor(config, run, task_data.identity, log) as on_ray,
        _shown(console, run, num_trials, on_ray) as chosen,
    ):
        yield chosen


@contextmanager
def _shown(console: Console, run: RunFolder, num_trials: int, chosen: Any) -> Iterator[Any]:
    with watched(run, num_trials, console, chosen.counters.update):
        yield chosen
    chosen.counters.write()


def require_ray() -> None:
    """Raise ValueError if Ray is not installed."""
    if find_spec("ray") is None:
        raise ValueError("ray: not installed; expected `pip install 'ray[train,tune,default]'`, or --in-process")

"""Choose the executor of a program and show its progress."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from importlib import import_module
from typing import Any

from rich.console import Console

from dwm_ray.cli.progress import show_progress
from dwm_ray.config import RunConfig
from dwm_ray.data.task_data import TaskData
from dwm_ray.errors import one_line
from dwm_ray.local.executor import LocalExecutor
from dwm_ray.runs.folder import RunFolder, read_json
from dwm_ray.runs.tensor_files import write_json


@contextmanager
def executor(
    console: Console, config: RunConfig, run: RunFolder, task_data: TaskData, num_trials: int, in_process: bool
) -> Iterator[Any]:
    """Yield a LocalExecutor or RayExecutor; until the context ends, show the progress and update the run's counters."""
    if in_process:
        with _shown(console, run, num_trials, LocalExecutor(run, task_data.episodes)) as runner:
            yield runner
        return
    require_ray()
    from dwm_ray.distributed.executor import ray_executor  # Ray is optional for everything else

    log = partial(console.print, soft_wrap=True)
    with (
        ray_executor(config, run, task_data.identity, log) as on_ray,
        _shown(console, run, num_trials, on_ray) as runner,
    ):
        yield runner


@contextmanager
def _shown(console: Console, run: RunFolder, num_trials: int, runner: Any) -> Iterator[Any]:
    shared = {"num_trials": num_trials, "processes": runner.processes, "cpus": runner.cpus}
    write_json(run.sweep, {**(read_json(run.sweep) or {}), **shared})
    run.push(run.sweep)
    with show_progress(run, num_trials, console, runner.counters.update):
        yield runner
    runner.counters.write()


def require_ray() -> None:
    """Raise ValueError if Ray is not installed, or if its installation is broken."""
    try:
        for name in ("ray.train", "ray.tune"):
            import_module(name)
    except Exception as error:  # a broken installation may raise anything
        raise ValueError(
            f"ray: cannot be imported ({type(error).__name__}: {one_line(error)}); expected an installation by "
            "`pip install 'ray[train,tune,default]'`, or --in-process"
        ) from error

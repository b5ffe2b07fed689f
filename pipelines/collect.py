"""Record a dataset in D4RL's layout with a random or scripted policy or an online SAC run (stable-baselines3).

Recipes:
  medium-replay  the replay buffer of an online run, starting at its first step
  medium         episodes of a policy trained to a third of the expert's score (--stop-score)
  expert         episodes of a policy trained for --train-steps
  random         uniform actions
  waypoints      a scripted controller for PointMaze that follows the shortest path to the goal, with noise

The progress of an interrupted recording is saved in OUT.resume. Run the same command again to continue. Existing data
are never overwritten.

Examples:
  python pipelines/collect.py --env HalfCheetah-v5 --recipe medium-replay --steps 200000 --out cheetah.hdf5
  python pipelines/collect.py --env Hopper-v5 --recipe medium --steps 100000 --format minari --out mine/hopper/medium-v0
  python pipelines/collect.py --env PointMaze_UMaze-v3 --recipe waypoints --steps 100000 --out maze.hdf5
"""

from dwm_ray.cli import stopping

if __name__ == "__main__":
    stopping.catch_signals()  # before the imports that take seconds

import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import tyro
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TimeRemainingColumn

from dwm_ray.cli.command_line import main_guard
from dwm_ray.cli.progress import LINE_S
from dwm_ray.data.export import Format, check_new, write
from dwm_ray.data.recording.collector import Collector, RecordingOptions
from dwm_ray.data.summary import data_summary, summary_text
from dwm_ray.report.table import format_seconds
from dwm_ray.tasks.table import task_for
from dwm_ray.types import Episodes

UNTRAINED: dict[str, str] = {"random": "uniform actions", "waypoints": "shortest way by waypoints, noise 0.5"}
"""The attribute `agent` of datasets without a trained policy."""


@dataclass(frozen=True, kw_only=True)
class Options(RecordingOptions):
    """Command line of this program."""

    out: str
    """File to write, or with --format minari the id of the new dataset (NAMESPACE/NAME-vN)."""
    format: Format = "hdf5"
    """File format; hdf5 is D4RL's layout."""


@main_guard
def main(argv: Sequence[str] | None = None) -> int:
    """Record a dataset, write it and print a summary."""
    options = tyro.cli(Options, args=argv, description=__doc__)
    _check(options)
    resume = Path(f"{options.out.rstrip('/')}.resume")
    with stopping.hint(f"progress is saved in {resume}; {stopping.SAME_COMMAND}"):
        collector, episodes = _collect(options, resume)
    _write(options, episodes, collector.trained_steps)
    shutil.rmtree(resume, ignore_errors=True)
    task = task_for(episodes.card.name, options.env, float(episodes.returns().max()))
    print(f"{options.out}\n{summary_text(data_summary(episodes, task))}")
    return 0


def _check(options: Options) -> None:
    """Raise ValueError for options that would otherwise cause a failure after hours."""
    for name in ("steps", "train_steps", "checkpoint_every"):
        if getattr(options, name) < 1:
            raise ValueError(f"--{name.replace('_', '-')}: is {getattr(options, name)}; expected at least 1")
    if options.seed < 0:
        raise ValueError(f"--seed: is {options.seed}; expected 0 or more")
    check_new(options.format, options.out)


def _collect(options: Options, resume: Path) -> tuple[Collector, Episodes]:
    console = Console(stderr=True)
    columns = ("[progress.description]{task.description}", BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal, speed_estimate_period=300) as bars:
        stages: dict[str, TaskID] = {}
        printed = time.monotonic()

        def on_progress(stage: str, done: int, total: int) -> None:
            nonlocal printed
            if stage not in stages:
                stages[stage] = bars.add_task(stage, total=total)
            bars.update(stages[stage], completed=done)
            if bars.disable and time.monotonic() - printed >= LINE_S:
                printed = time.monotonic()
                console.print(_line(stage, done, total, bars.tasks[stages[stage]].time_remaining), highlight=False)

        collector = Collector(options, resume, on_progress)
        return collector, collector.run()


def _line(stage: str, done: int, total: int, remaining_s: float | None) -> str:
    left = "remaining time unknown" if remaining_s is None else f"{format_seconds(remaining_s)} left"
    return f"{stage}: {100 * done / total:.0f} %, {done} of {total} steps, {left}"


def _write(options: Options, episodes: Episodes, trained_steps: int) -> None:
    facts: dict[str, str | int] = {
        "recipe": options.recipe,
        "seed": options.seed,
        "transitions": episodes.num_transitions,
        "agent": _agent(options, trained_steps),
        "gymnasium": version("gymnasium"),
        "mujoco": version("mujoco"),
    }
    write(episodes, options.format, options.out, facts)


def _agent(options: Options, trained_steps: int) -> str:
    if options.recipe in UNTRAINED:
        return UNTRAINED[options.recipe]
    return f"stable-baselines3 {version('stable-baselines3')} SAC, default hyperparameters, {trained_steps} steps"


if __name__ == "__main__":
    raise SystemExit(main())

"""Record a data set in D4RL's layout with a random or scripted policy or an online SAC run (stable-baselines3).

Recipes:
  medium-replay  the replay buffer of an online run, from its first step
  medium         episodes of a policy trained to a third of the expert's score (--stop-score)
  expert         episodes of a policy trained for --train-steps
  random         uniform actions
  waypoints      a scripted controller with noise, for PointMaze: to the goal along the shortest way

An interrupted recording lies in OUT.resume and goes on when the same command is run again. Nothing is overwritten.

Examples:
  python pipelines/collect.py --env HalfCheetah-v5 --recipe medium-replay --steps 200000 --out cheetah.hdf5
  python pipelines/collect.py --env Hopper-v5 --recipe medium --steps 100000 --format minari --out mine/hopper/medium-v0
  python pipelines/collect.py --env PointMaze_UMaze-v3 --recipe waypoints --steps 100000 --out maze.hdf5
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Literal

import tyro
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TimeRemainingColumn

from dwm_ray.cli.command_line import main_guard
from dwm_ray.data import parquet
from dwm_ray.data.collection import Collection, Plan, Recipe
from dwm_ray.data.export import check_new_minari, write_hdf5, write_minari
from dwm_ray.data.load import describe_line, summary
from dwm_ray.tasks.table import task_for
from dwm_ray.types import Episodes

SCRIPTED: dict[str, str] = {"random": "uniform actions", "waypoints": "shortest way by waypoints, noise 0.5"}
"""What a recording says of policies that nobody trained."""


@dataclass(frozen=True)
class Options:
    """Command line of this program."""

    env: str
    """Gymnasium id with version, such as HalfCheetah-v5; actions must be a vector, observations one or a
    goal-aware dictionary."""
    out: str
    """File to write, or with --format minari the new set's id (NAMESPACE/NAME-vN)."""
    recipe: Recipe = "medium-replay"
    """How actions are chosen; see above."""
    steps: int = 200_000
    """Transitions to record."""
    seed: int = 0
    """Seeds the environment, the policy and its training."""
    format: Literal["hdf5", "parquet", "minari"] = "hdf5"
    """hdf5 is D4RL's layout."""
    train_steps: int = 1_000_000
    """Most environment steps of training for medium and expert."""
    stop_score: float | None = None
    """Normalised score (raw return in environments without reference scores) over 10 episodes that ends training."""
    checkpoint_every: int = 20_000
    """Steps between two checkpoints: what an interruption costs at most, up to one episode."""


@main_guard
def main(argv: Sequence[str] | None = None) -> int:
    options = tyro.cli(Options, args=argv, description=__doc__)
    _check(options)
    resume = Path(f"{options.out.rstrip('/')}.resume")
    plan = Plan(
        options.env,
        options.recipe,
        options.steps,
        options.seed,
        options.train_steps,
        options.stop_score,
        options.checkpoint_every,
    )
    try:
        collection, episodes = _collect(plan, resume)
    except KeyboardInterrupt:
        print(f"progress is kept in {resume}: run the same command again to go on", file=sys.stderr)
        raise
    _write(options, episodes, collection.trained_steps)
    shutil.rmtree(resume, ignore_errors=True)
    task = task_for(episodes.card.name, options.env, float(episodes.returns().max()))
    print(f"{options.out}\n{describe_line(summary(episodes, task))}")
    return 0


def _check(options: Options) -> None:
    """Everything that would fail only after hours."""
    for name in ("steps", "train_steps", "checkpoint_every"):
        if getattr(options, name) < 1:
            raise ValueError(f"--{name.replace('_', '-')} {getattr(options, name)}: must be at least 1")
    if options.seed < 0:
        raise ValueError(f"--seed {options.seed}: must not be negative")
    if options.format == "minari":
        return check_new_minari(options.out)
    if Path(options.out).exists():
        raise ValueError(f"--out {options.out}: exists already, nothing is overwritten")
    if Path(options.out).suffix != f".{options.format}":
        raise ValueError(f"--out {options.out}: a file of --format {options.format} must end in .{options.format}")
    return None


def _collect(plan: Plan, resume: Path) -> tuple[Collection, Episodes]:
    columns = ("[progress.description]{task.description}", BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as bars:
        stages: dict[str, TaskID] = {}

        def report(stage: str, done: int, total: int) -> None:
            if stage not in stages:
                stages[stage] = bars.add_task(stage, total=total)
            bars.update(stages[stage], completed=done)

        collection = Collection(plan, resume, report)
        return collection, collection.run()


def _write(options: Options, episodes: Episodes, trained_steps: int) -> None:
    facts: dict[str, str | int] = {
        "recipe": options.recipe,
        "seed": options.seed,
        "transitions": episodes.num_transitions,
    }
    facts |= {"agent": _agent(options, trained_steps), "gymnasium": version("gymnasium"), "mujoco": version("mujoco")}
    if options.format == "minari":
        write_minari(episodes, options.out, ", ".join(f"{key}: {value}" for key, value in facts.items()))
    elif options.format == "parquet":
        parquet.write(episodes, Path(options.out))
    else:
        write_hdf5(episodes, Path(options.out), facts)


def _agent(options: Options, trained_steps: int) -> str:
    if options.recipe in SCRIPTED:
        return SCRIPTED[options.recipe]
    return f"stable-baselines3 {version('stable-baselines3')} SAC, default hyperparameters, {trained_steps} steps"


if __name__ == "__main__":
    raise SystemExit(main())

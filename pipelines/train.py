"""Train one agent on logged data and what a world model imagines from them, with every option of a run.

Ray trains the world model, samplers draw the stream of imagined segments, a learner consumes it. --in-process does the
same without Ray. --world-model none learns from the logged data alone (model-free). --resume DIR goes on with a run.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from rich.console import Console

from dwm_ray import session
from dwm_ray.cli import main_guard, parse
from dwm_ray.config import Frozen, RunConfig
from dwm_ray.distributed.counters import Counters
from dwm_ray.distributed.sweep import record_trial
from dwm_ray.distributed.trial import Plant, run_trial
from dwm_ray.progress import Watch
from dwm_ray.run import run as run_in_process
from dwm_ray.run_folder import RunFolder, status_of
from dwm_ray.search import Trial


class Command(Frozen):
    """The run's own options."""

    output: Path = Path("runs")
    """Folder that the run's folder is made in."""
    resume: Path | None = None
    """Go on with this run folder: what is done is kept, and all other options are taken from it."""
    in_process: bool = False
    """Do everything in this process, without Ray."""


@main_guard
def main(argv: list[str] | None = None) -> int:
    console, seconds = Console(), session.stopwatch()
    own, config, profile = parse(Command, sys.argv[1:] if argv is None else argv, __doc__ or "")
    if own.resume is None:
        record = {"profile": profile, "run": config.model_dump(mode="json")}
        run, problem = session.begin(console, config, own.output, record)
    else:
        run, problem, record = session.reopen(console, own.resume)
        config = RunConfig.model_validate(record["run"])
    trial = Trial(config, {})
    record_trial(trial, run)
    with session.resumable(console, run, "pipelines/train.py"):
        if status_of(run.trial(trial.id)) == "done":
            console.print("this run is done already")
        elif own.in_process:
            run_here(console, config, run)
        else:
            run_on_ray(console, trial, session.start(console, config, run, problem))
    session.conclude(console, run, seconds())
    return 0 if status_of(run.trial(trial.id)) == "done" else 1


def run_here(console: Console, config: RunConfig, run: RunFolder) -> None:
    """The whole run in this process, with the progress on show."""
    # Networks this small run ten times slower on two threads as soon as another process wants a core.
    torch.set_num_threads(1)
    with Watch(run, 1, console, lambda: None):
        run_in_process(config, run)


def run_on_ray(console: Console, trial: Trial, plant: Plant) -> None:
    """One trial on the plant, with the progress on show."""
    counters = Counters(plant)
    with Watch(plant.run, 1, console, counters.write):
        run_trial(trial, plant, [])
    counters.write()


if __name__ == "__main__":
    sys.exit(main())

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
    if status_of(run.trial(trial.id)) != "done":
        if own.in_process:
            # Networks this small run ten times slower on two threads as soon as another process wants a core.
            torch.set_num_threads(1)
            with Watch(run, 1, console, lambda: None):
                run_in_process(config, run)
        else:
            run_on_ray(console, trial, run, session.start(console, config, run, problem))
    session.conclude(console, run, seconds())
    return 0


def run_on_ray(console: Console, trial: Trial, run: RunFolder, plant: Plant) -> None:
    """One trial on the plant, with the progress on show."""
    counters = Counters(plant)
    with Watch(run, 1, console, counters.write):
        run_trial(trial, plant, [])
    counters.write()


if __name__ == "__main__":
    sys.exit(main())

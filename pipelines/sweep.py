"""Sweep horizons, return-to-go and more over agents and seeds: on a Ray cluster, or on the cores of this machine.

World models and streams of imagined segments are made once and shared by all trials that can share them. Results lie
in a new folder under --output: results.json, report.html, and a folder per trial. --resume DIR goes on with a sweep.
--population N trains up to N trials of an agent as one. --in-process does all in one process, without Ray.
"""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path
from typing import Any

from rich.console import Console

from dwm_ray.cli import session
from dwm_ray.cli.command_line import given_paths, main_guard
from dwm_ray.cli.progress import watched
from dwm_ray.config import RunConfig
from dwm_ray.distributed.metrics.counters import counters_of
from dwm_ray.distributed.tune.optuna_search import FeasibleOptuna
from dwm_ray.distributed.tune.sweep import as_params, record_trials, run_sweep, unfinished
from dwm_ray.distributed.tune.trial import ClusterServices
from dwm_ray.experiment.grouping import PopulationOptions, as_one
from dwm_ray.experiment.names import method_name
from dwm_ray.experiment.plan import SweepConfig, axes_of, bases_of, make_plan
from dwm_ray.experiment.profiles import MOST_MEMBERS, Profile, resolve
from dwm_ray.experiment.search_space import Plan, Trial, dimensions
from dwm_ray.local.executor import run_here
from dwm_ray.runs.folder import RunFolder, read_json
from dwm_ray.runs.tensor_files import write_json


class Command(SweepConfig, PopulationOptions):
    """The sweep's own options."""

    output: Path = Path("runs")
    """Folder that the run's folder is made in; without --storage, on a path that all nodes see."""
    storage: str | None = None
    """Keep the run in a folder of its name at s3://BUCKET/FOLDER, gs://BUCKET/FOLDER or a path; --output is then this
    machine's mirror of it. Credentials come from the environment or the machines' role."""
    resume: str | None = None
    """Go on with this run folder, or address in a storage: what is done is kept, other options are taken from it."""


@main_guard
def main(argv: list[str] | None = None) -> int:
    console, seconds = Console(), session.stopwatch()
    words = sys.argv[1:] if argv is None else argv
    own, config, profile = session.options(Command, words, f"{__doc__}\n{axes_help()}")
    given = sorted(given_paths(words))
    sweep = SweepConfig(**{name: getattr(own, name) for name in SweepConfig.model_fields})
    if own.resume is None:
        plan = checked_plan(sweep, config, profile, given, own)
        most = 1 if by_scores(sweep) else own.population or MOST_MEMBERS[profile]
        record: dict[str, Any] = {
            "profile": profile,
            "population": most,
            "sweep": sweep.model_dump(mode="json"),
            "run": config.model_dump(mode="json"),
            "given": given,
        }
        run, task_data = session.begin(console, config, own.output, record, own.storage)
    else:
        run, task_data, record = session.reopen(console, own.resume, own.output)
        sweep, config = SweepConfig.model_validate(record["sweep"]), RunConfig.model_validate(record["run"])
        profile, given = resolve(record["profile"]), record.get("given", [])
        most = own.population or record.get("population", 1)
        plan = checked_plan(sweep, config, profile, given, own)
    announce(console, plan, run, most)
    with session.resumable(console, run, "pipelines/sweep.py"):
        if own.in_process:
            run_here(console, unfinished(plan.trials, run), run, task_data.episodes, most)
        else:
            with session.started(console, config, run, task_data) as services:
                execute(console, plan, services, sweep, config, profile, given, most)
    write_json(run.sweep, {**(read_json(run.sweep) or {}), "dropped": dict(plan.dropped)})
    results = session.conclude(console, run, seconds())
    return 0 if any(trial["status"] == "done" for trial in results["trials"]) else 1


def axes_help() -> str:
    """The axes that --dimensions knows."""
    axes = [
        f"  {name}: {axis.help} (laptop: {axis.small}, paper: {axis.values})" for name, axis in dimensions().items()
    ]
    return "\n".join(["Axes for --dimensions:", *axes])


def checked_plan(
    sweep: SweepConfig, config: RunConfig, profile: Profile, given: list[str], together: PopulationOptions
) -> Plan:
    """The sweep's trials; ValueError where not one can run, or where Tune is to decide by their scores when they begin
    or end and they learn in step, or without Ray."""
    if by_scores(sweep):
        expected = "expected --search grid or random and --scheduler fifo"
        if (together.population or 1) > 1:
            raise ValueError(f"--population: trials learn in step; {expected}")
        if together.in_process:
            raise ValueError(f"--in-process: nobody decides by scores without Ray; {expected}")
    plan = make_plan(sweep, config, profile, given)
    if not plan.trials and sweep.search != "optuna":
        raise ValueError(f"no combination of this sweep can run: {reasons(plan.dropped)}")
    return plan


def by_scores(sweep: SweepConfig) -> bool:
    """Do trials begin or end by the scores so far?"""
    return sweep.search == "optuna" or sweep.scheduler == "asha"


def reasons(dropped: Counter[str]) -> str:
    return "; ".join(f"{count} x {why}" for why, count in dropped.items())


def announce(console: Console, plan: Plan, run: RunFolder, most_members: int) -> None:
    todo, together = unfinished(plan.trials, run), as_one(most_members)
    console.print(f"{len(plan.trials)} trials, {len(todo)} to run{together}", highlight=False)
    if plan.dropped:
        console.print(f"dropped before launch, as they cannot run: {reasons(plan.dropped)}", highlight=False)


def execute(
    console: Console,
    plan: Plan,
    services: ClusterServices,
    sweep: SweepConfig,
    config: RunConfig,
    profile: Profile,
    given: list[str],
    most_members: int,
) -> None:
    """Run what is not finished, with the progress on show."""
    counters = counters_of(services)
    expected = len(plan.trials) + (sweep.num_samples if sweep.search == "optuna" else 0)
    with watched(services.run, expected, console, counters.update):
        todo = unfinished(plan.trials, services.run)
        if todo:
            run_sweep(todo, services, sweep, config, most_members)
        if sweep.search == "optuna":
            search = optuna(plan, services, sweep, bases_of(sweep, config, profile, given), profile)
            run_sweep([], services, sweep, config, search=search)
    counters.write()


def optuna(
    plan: Plan, services: ClusterServices, sweep: SweepConfig, bases: list[RunConfig], profile: Profile
) -> FeasibleOptuna:
    def launch(trial: Trial) -> dict[str, object]:
        record_trials([trial], services.run)
        return as_params([trial])

    named = {method_name(base.model_dump(mode="json")): base for base in bases}
    most = services.placement.concurrent_trials
    return FeasibleOptuna(axes_of(sweep, profile), named, plan, launch, most, sweep.search_seed)


if __name__ == "__main__":
    sys.exit(main())

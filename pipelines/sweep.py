"""Sweep horizons, return-to-go and other axes over agents and seeds, on a Ray cluster or on the cores of this machine.

Each world model and stream of imagined segments is generated once and shared by all trials that can use it. Results are
written to a new folder below --output: results.json, report.html and a folder per trial. --resume DIR resumes a sweep.
--population N trains up to N trials of an agent as a population. --in-process runs everything in one process.
"""

from dwm_ray.cli import stopping

if __name__ == "__main__":
    stopping.catch_signals()  # before the imports that take seconds

import sys
from collections import Counter
from collections.abc import Collection
from typing import Annotated, Any

import tyro
from rich.console import Console

from dwm_ray.cli import session
from dwm_ray.cli.command_line import explicit_paths, main_guard
from dwm_ray.cli.cost_estimate import print_cost_estimate
from dwm_ray.cli.execution import executor
from dwm_ray.config import RunConfig
from dwm_ray.data.task_data import TaskData
from dwm_ray.errors import optional_module
from dwm_ray.experiment.grouping import PopulationOptions, population_note
from dwm_ray.experiment.plan import SweepConfig, bases_of, make_plan
from dwm_ray.experiment.profiles import MAX_MEMBERS, SWEEPS, resolve
from dwm_ray.experiment.search_space import Plan, dimensions, unfinished
from dwm_ray.options import Profile
from dwm_ray.runs.clock import Clock
from dwm_ray.runs.folder import read_json
from dwm_ray.runs.tensor_files import write_json


class Command(SweepConfig, PopulationOptions, session.RunCommand):
    """Options of the sweep itself."""

    yes: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Start even if the estimated cost exceeds a day. The profiles paper and published print an estimate."""


@main_guard
def main(argv: list[str] | None = None) -> int:
    console, clock = Console(highlight=False), Clock()
    argv = sys.argv[1:] if argv is None else argv
    axes = [f"  {a.name}: {a.help} (laptop: {a.laptop}, paper: {a.values})" for a in dimensions().values()]
    description = "\n".join([__doc__ or "", "Axes for --dimensions:", *axes])
    command, config, profile = session.options(Command, argv, description)
    if command.resume is None:
        opened = begin(console, command, config, profile, sorted(explicit_paths(argv)))
    else:
        opened = session.reopen(console, command.resume, command.output, "sweep")
    with session.resumable(opened[0], "pipelines/sweep.py", new=command.resume is None):
        execute(console, opened, command)
        results = session.conclude(console, opened[0], clock.seconds)
    return 0 if any(trial["status"] == "done" for trial in results["trials"]) else 1


def begin(
    console: Console, command: Command, config: RunConfig, profile: Profile, explicit: list[str]
) -> session.OpenedRun:
    """Plan a sweep and create its run folder."""
    sweep = sweep_options(command, profile, explicit)
    plan = checked_plan(sweep, config, profile, explicit, command)
    max_members = 1 if uses_scores(sweep) else command.population or MAX_MEMBERS[profile]
    record: dict[str, Any] = {
        "profile": profile,
        "population": max_members,
        "sweep": sweep.model_dump(mode="json"),
        "run": config.model_dump(mode="json"),
        "given": explicit,
    }

    def estimate(task_data: TaskData) -> None:
        if profile != "laptop":
            configs = [trial.config for trial in plan.trials]
            print_cost_estimate(console, configs, task_data, command.in_process, command.yes)

    return session.begin(console, config, command.output, record, command.storage, estimate)


def execute(console: Console, opened: session.OpenedRun, command: PopulationOptions) -> None:
    """Plan the sweep of a run's record; run its unfinished trials, and those that Optuna chooses."""
    run, task_data, record = opened
    sweep, config = SweepConfig.model_validate(record["sweep"]), RunConfig.stored(record["run"], run.config)
    profile, explicit = resolve(record["profile"]), record.get("given", [])
    plan = checked_plan(sweep, config, profile, explicit, command)
    searched = bases_of(sweep, config, profile, explicit) if sweep.search == "optuna" else []
    max_members = command.population or record.get("population", 1)
    remaining = unfinished(plan.trials, run)
    announce(console, plan, len(remaining), max_members)
    session.announce_synthesis(console, task_data, [*(trial.config for trial in plan.trials), *searched])
    if remaining or searched:
        expected = len(plan.trials) + (sweep.num_samples if searched else 0)
        with executor(console, config, run, task_data, expected, command.in_process) as runner:
            if remaining:
                runner.run(remaining, max_members, sweep)
            if searched:
                runner.search(plan, sweep, searched, profile)
    write_json(run.sweep, {**(read_json(run.sweep) or {}), "dropped": dict(plan.dropped)})


def sweep_options(command: SweepConfig, profile: Profile, explicit: Collection[str]) -> SweepConfig:
    """Return the options of the sweep; options without a flag have the default of the profile.

    Random and guided searches use the axes of the profile paper, because without axes they would have a single point.
    """
    fixed = explicit if command.search == "grid" else {*explicit, "dimensions"}
    defaults = {name: value for name, value in SWEEPS[profile].items() if name not in fixed}
    return SweepConfig(**{name: getattr(command, name) for name in SweepConfig.model_fields} | defaults)


def checked_plan(
    sweep: SweepConfig, config: RunConfig, profile: Profile, explicit: list[str], command: PopulationOptions
) -> Plan:
    """Return the sweep's trials; raise ValueError if none can run or scores cannot be used to select them."""
    if uses_scores(sweep):
        expected = "expected --search grid or random and --scheduler fifo"
        if (command.population or 1) > 1:
            raise ValueError(f"--population: members of a population start and end together; {expected}")
        if command.in_process:
            raise ValueError(f"--in-process: selection of trials by scores needs Ray; {expected}")
    if sweep.search == "optuna":
        optional_module("optuna", "--search optuna", "optuna")
    plan = make_plan(sweep, config, profile, explicit)
    searched = [trial for trial in plan.trials if set(trial.values) - {"seed"}]
    if sweep.search != "optuna" and (not plan.trials or (plan.dropped and not searched)):
        raise ValueError(f"no combination of this sweep can run: {reasons(plan.dropped)}")
    return plan


def uses_scores(sweep: SweepConfig) -> bool:
    """Return whether scores determine which trials start or stop."""
    return sweep.search == "optuna" or sweep.scheduler == "asha"


def reasons(dropped: Counter[str]) -> str:
    """Join the reasons why trials were dropped."""
    return "; ".join(f"{count} x {why}" for why, count in dropped.items())


def announce(console: Console, plan: Plan, num_remaining: int, max_members: int) -> None:
    """Print the number of trials and the reasons for dropping combinations."""
    note = population_note(max_members)
    console.print(f"{len(plan.trials)} trials, {num_remaining} to run{note}")
    if plan.dropped:
        console.print(f"dropped before launch, as they cannot run: {reasons(plan.dropped)}")


if __name__ == "__main__":
    sys.exit(main())

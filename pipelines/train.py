"""Train one agent on logged data and what a world model imagines from them, with every option of a run.

Ray trains the world model, samplers draw the stream of imagined segments, a learner consumes it. --in-process does the
same without Ray. --world-model none learns from the logged data alone (model-free). --resume DIR goes on with a run.
--check-cluster looks at the cluster's nodes and makes no run.
"""

from __future__ import annotations

import sys
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table

from dwm_ray.cli import session
from dwm_ray.cli.command_line import main_guard
from dwm_ray.cli.progress import watched
from dwm_ray.config import RunConfig
from dwm_ray.distributed.cluster.check import Facts, Node, inspect_cluster
from dwm_ray.distributed.metrics.counters import counters_of
from dwm_ray.distributed.tune.sweep import record_trials
from dwm_ray.distributed.tune.trial import ClusterServices, run_trial
from dwm_ray.experiment.search_space import Trial
from dwm_ray.local.executor import run_here
from dwm_ray.options import Frozen
from dwm_ray.runs.folder import status_of


class Command(Frozen):
    """The run's own options."""

    output: Path = Path("runs")
    """Folder that the run's folder is made in; without --storage, on a path that all nodes see."""
    storage: str | None = None
    """Keep the run in a folder of its name at s3://BUCKET/FOLDER, gs://BUCKET/FOLDER or a path; --output is then this
    machine's mirror of it. Credentials come from the environment or the machines' role."""
    resume: str | None = None
    """Go on with this run folder, or address in a storage: what is done is kept, other options are taken from it."""
    in_process: bool = False
    """Do everything in this process, without Ray."""
    check_cluster: bool = False
    """Look at every node of the cluster - versions, GPUs, clock, --output or --storage - and print what was found; no
    run is made."""


@main_guard
def main(argv: list[str] | None = None) -> int:
    console, seconds = Console(), session.stopwatch()
    own, config, profile = session.options(Command, sys.argv[1:] if argv is None else argv, __doc__ or "")
    if own.check_cluster:
        return check_nodes(console, own, config)
    if own.resume is None:
        record = {"profile": profile, "run": config.model_dump(mode="json")}
        run, task_data = session.begin(console, config, own.output, record, own.storage)
    else:
        run, task_data, record = session.reopen(console, own.resume, own.output)
        config = RunConfig.model_validate(record["run"])
    trial = Trial(config, {})
    record_trials([trial], run)
    with session.resumable(console, run, "pipelines/train.py"):
        if status_of(run.trial(trial.id)) == "done":
            console.print("this run is done already")
        elif own.in_process:
            run_here(console, [trial], run, task_data.episodes)
        else:
            with session.started(console, config, run, task_data) as services:
                run_on_ray(console, trial, services)
    session.conclude(console, run, seconds())
    return 0 if status_of(run.trial(trial.id)) == "done" else 1


def check_nodes(console: Console, own: Command, config: RunConfig) -> int:
    """Join or start the cluster as a run would, with the nodes that it would wait for, and look at them; 1 where one of
    them would break a run."""
    if own.in_process or own.resume is not None:
        raise ValueError("--check-cluster: makes no run, so it goes with neither --in-process nor --resume")
    with session.divided(console, config) as placement:
        driver, nodes = inspect_cluster(own.output, own.storage)
    versions = ", ".join(f"{name} {version}" for name, version in driver.versions.items())
    console.print(f"here: {versions}", highlight=False, soft_wrap=True)
    console.print(node_table(nodes, driver))
    problems = [f"{node.name} ({node.address}): {problem}" for node in nodes for problem in node.problems(driver)]
    for line in problems:
        console.print(line, style="red", highlight=False, markup=False, soft_wrap=True)
    fitting = placement.concurrent_trials
    console.print(f"{len(nodes)} nodes, {fitting} trials at once, {len(problems)} problems", highlight=False)
    return 1 if problems else 0


def node_table(nodes: list[Node], driver: Facts) -> Table:
    """A row per node; names and addresses stay whole also in the log of a job, which is 80 columns wide."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for title in ("node", "IP", "versions", "CPUs", "GPUs", "free disk", "clock", "storage"):
        table.add_column(title, overflow="fold", no_wrap=title in ("node", "IP"))
    for node in nodes:
        known, facts = (node.name, node.address), node.facts
        if facts is None:
            table.add_row(*known, "no answer", f"{node.cpus:g}", f"{node.gpus:g}", style="red")
            continue
        table.add_row(
            *known,
            "as here" if facts.versions == driver.versions else "others",
            f"{node.cpus:g}",
            "\n".join([f"{node.gpus:g}", *facts.gpus]),
            f"{facts.free_bytes / 2**30:.0f} GiB",
            f"{1000 * node.skew_s:+.1f} ms\n± {1000 * node.error_s:.1f}",
            storage_cell(facts),
        )
    return table


def storage_cell(facts: Facts) -> str:
    """Whether a node reaches the storage, and what a small file there and back took."""
    if facts.storage is not None:
        return "not shared"
    return "shared" if facts.storage_s is None else f"shared, {facts.storage_s:.2f} s"


def run_on_ray(console: Console, trial: Trial, services: ClusterServices) -> None:
    """One trial on the plant, with the progress on show."""
    counters = counters_of(services)
    with watched(services.run, 1, console, counters.update):
        run_trial(trial, services, [])
    counters.write()


if __name__ == "__main__":
    sys.exit(main())

"""Measure rates and their ratios on this machine: learner, sampler, world-model training, or a learner as a whole; a
sweep's cost, CPU time and memory; how samplers add up, how much load the buffer's index bears; or provoke faults, and
see what a sweep makes of them.

Rates are timed in turns and repeated; a table of medians and paired ratios is printed, and the rates go to a JSON
file. --peer NAME=COMMAND times an outside command in turn with ours and reads the last word that it prints, its rate.
docs/benchmarks.md says what each figure means.
"""

from __future__ import annotations

import os
import sys
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import torch
import tyro
from rich.console import Console

from dwm_ray.benchmarks import cluster_load
from dwm_ray.benchmarks.cluster_load import Load
from dwm_ray.benchmarks.observed import Observed, observe
from dwm_ray.benchmarks.options import Options
from dwm_ray.benchmarks.rates import measure
from dwm_ray.benchmarks.result import Grid, machine
from dwm_ray.benchmarks.suites import scaling
from dwm_ray.benchmarks.suites.faults import Faults
from dwm_ray.benchmarks.suites.learner import Learner
from dwm_ray.benchmarks.suites.sampler import Sampler
from dwm_ray.benchmarks.suites.scaling import Scaling
from dwm_ray.benchmarks.suites.sweep import Sweep
from dwm_ray.benchmarks.suites.whole import Whole
from dwm_ray.benchmarks.suites.world_model import WorldModels
from dwm_ray.benchmarks.sweep_factors import factors
from dwm_ray.benchmarks.sweep_tables import cpu_seconds, grids, trial_seconds
from dwm_ray.cli.command_line import main_guard
from dwm_ray.runs.tensor_files import write_json

HERE = Path(__file__).parent
SWEEP, TRAIN = HERE / "sweep.py", HERE / "train.py"
Chosen = (
    Annotated[Learner, tyro.conf.subcommand(Learner.name)]
    | Annotated[Sampler, tyro.conf.subcommand(Sampler.name)]
    | Annotated[WorldModels, tyro.conf.subcommand(WorldModels.name)]
    | Annotated[Whole, tyro.conf.subcommand(Whole.name)]
    | Annotated[Sweep, tyro.conf.subcommand(Sweep.name)]
    | Annotated[Scaling, tyro.conf.subcommand(Scaling.name)]
    | Annotated[Load, tyro.conf.subcommand(Load.name)]
    | Annotated[Faults, tyro.conf.subcommand(Faults.name)]
)
SHOWN = ("output", "markdown")
WITH_DATA = (*SHOWN, "task", "data")


def run(suite: Chosen, options: Options) -> None:
    """Measure one suite, or provoke faults."""
    match suite:
        case Faults():
            provoke(suite, options)
        case Load():
            burden(suite, options)
        case Scaling():
            scale(suite, options)
        case Sweep():
            watch(suite, options)
        case _:
            measure(suite, options)


def provoke(suite: Faults, options: Options) -> None:
    """Every fault in turn, its line as soon as it is over."""
    options.refuse_others(WITH_DATA, "says how rates are timed; faults are provoked once each")
    expect_own_cluster("faults")
    from dwm_ray.benchmarks.cluster.faults import (
        harness,
        outcome,  # the other suites need no Ray
    )
    from dwm_ray.benchmarks.cluster.faults import suite as faults

    path = options.path(suite.name)
    console = Console(stderr=True)
    with TemporaryDirectory() as folder, harness.own_cluster() as address:
        place = harness.Arena(address, Path(folder), SWEEP, options.data_words(), console.print)
        lines = []
        for line in faults.provoke_all(place, options.task, options.data, suite.updates):
            lines.append(line)
            console.print(" | ".join(line.cells()), highlight=False, soft_wrap=True)
            write_json(path, {"faults": [one.to_json() for one in lines], "machine": busy_machine()})
    print(outcome.markdown_table(lines))
    print(path)


def burden(suite: Load, options: Options) -> None:
    """Measure the index: the floor of Ray's calls first, then each number of actors."""
    suite.check()
    options.refuse_others(SHOWN, "has no meaning for the load on the buffer")
    from dwm_ray.benchmarks.cluster import load as place  # the other suites need no Ray
    from dwm_ray.benchmarks.cluster.load_generator import Crowd

    rows, windows, path = [], [], options.path(suite.name)
    about = (suite.samplers, suite.readers, suite.streams, suite.processes, suite.prefetch_blocks)
    with Console(stderr=True).status("starting Ray") as status, place.cluster():
        for shards in (0, *suite.shards):
            for draw_s in suite.draw_s:
                name = f"{shards} of the buffer" if shards else "bare calls"
                status.update(f"{name}, {draw_s:g} s a block")
                measured = place.measure if shards else place.measure_bare
                window = asdict(measured(Crowd(*about, shards), draw_s, suite.warmup_s, suite.seconds))
                windows.append({"shards": shards, "draw_s": draw_s, **window})
                rows.append(cluster_load.cells(name, draw_s, window))
    settings = {**asdict(suite), "output": str(path)}
    write_json(path, {"suite": suite.name, "windows": windows, "machine": machine(torch.device("cpu")), **settings})
    Grid(suite.name, cluster_load.HEADERS, rows).show(options.markdown)
    print(path)


def scale(suite: Scaling, options: Options) -> None:
    """Draw streams with each number of samplers, in turns."""
    suite.check()
    options.refuse_others((*WITH_DATA, "repeats"), "has no meaning for samplers that are timed by their blocks")
    options.check()
    from dwm_ray.benchmarks.cluster import load as place  # the other suites need no Ray
    from dwm_ray.benchmarks.cluster import throughput

    path, config = options.path(suite.name), suite.config(options.task, options.data)
    with (
        Console(stderr=True).status("starting Ray") as status,
        TemporaryDirectory() as folder,
        place.cluster(),
        throughput.site(config, Path(folder), suite.samplers) as site,
    ):
        seen = site.in_turns(options.repeats, status.update)
    drawn = {count: [asdict(one) for one in of] for count, of in seen.items()}
    write_json(path, {"suite": suite.name, "drawn": drawn, "machine": busy_machine(), "options": asdict(suite)})
    Grid(suite.name, scaling.HEADERS, scaling.cells(seen)).show(options.markdown)
    print(path)


def watch(suite: Sweep, options: Options) -> None:
    """Run a sweep, then some of its trials alone, and look at all of their processes."""
    suite.check()
    options.refuse_others(WITH_DATA, "has no meaning for a sweep, which is run once")
    expect_own_cluster("the sweep")
    path, data = options.path(suite.name), options.data_words()
    with Console(stderr=True).status("the sweep") as status, TemporaryDirectory() as folder:
        seen = observe(SWEEP, (*data, *suite.together()), Path(folder) / "sweep")
        alone: list[Observed] = []
        keep_sweep(path, suite, seen, alone)
        for number, words in enumerate(suite.by_themselves()):
            status.update(f"trial {number + 1} of {suite.alone} by itself")
            alone.append(observe(TRAIN, (*data, *words), Path(folder) / f"alone-{number}"))
            keep_sweep(path, suite, seen, alone)
    for grid in grids(seen, alone):
        grid.show(options.markdown)
    print(path)


def keep_sweep(path: Path, suite: Sweep, seen: Observed, alone: list[Observed]) -> None:
    """What has been measured so far: the sweep stays, should a later run fail."""
    found: dict[str, Any] = {
        "factors": [asdict(factor) for factor in factors(seen, alone)],
        "cpu_s": cpu_seconds(seen),
        "trial_s": trial_seconds(seen),
        "sweep": asdict(seen),
        "alone": [asdict(run) for run in alone],
    }
    write_json(path, {"suite": suite.name, **found, "machine": busy_machine(), "options": asdict(suite)})


def expect_own_cluster(what: str) -> None:
    if "RAY_ADDRESS" in os.environ:
        raise ValueError(f"RAY_ADDRESS: {what} needs a cluster of its own on this machine; expected it unset")


def busy_machine() -> dict[str, Any]:
    """Where it was measured, and how busy it is."""
    return {**machine(torch.device("cpu")), "cpus": os.cpu_count(), "load": os.getloadavg()}


@main_guard
def main(argv: list[str] | None = None) -> None:
    markers = (tyro.conf.CascadeSubcommandArgs, tyro.conf.OmitArgPrefixes, tyro.conf.OmitSubcommandPrefixes)
    tyro.cli(run, args=sys.argv[1:] if argv is None else argv, description=__doc__, config=markers)


if __name__ == "__main__":
    sys.exit(main())

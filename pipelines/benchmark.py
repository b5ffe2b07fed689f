"""Measure rates and their ratios on this machine: learner, sampler, world-model training, or a learner as a whole; how
much load the buffer's index bears; or provoke faults, and see what a sweep makes of them.

Everything is timed in turns and repeated; a table of medians and paired ratios is printed, and the rates go to a JSON
file. --peer NAME=COMMAND times an outside command in turn with ours and reads the last number that it prints.
docs/performance.md says what each figure means.
"""

from __future__ import annotations

import os
import sys
import time
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Literal

import torch
import tyro
from rich.console import Console

from dwm_ray.benchmark import load
from dwm_ray.benchmark.load import Load
from dwm_ray.benchmark.measure import Clock, Stopwatch, Work
from dwm_ray.benchmark.peers import Peer
from dwm_ray.benchmark.result import Measured, as_markdown, as_table, machine, markdown_table, run_works, terminal_table
from dwm_ray.benchmark.suites import Suite
from dwm_ray.benchmark.suites.faults import Faults
from dwm_ray.benchmark.suites.learner import Learner
from dwm_ray.benchmark.suites.sampler import Sampler
from dwm_ray.benchmark.suites.whole import Whole
from dwm_ray.benchmark.suites.world_model import WorldModels
from dwm_ray.benchmark.workbench import Workbench
from dwm_ray.checkpoint import write_json
from dwm_ray.cli import main_guard
from dwm_ray.config import DataConfig

SWEEP = Path(__file__).parent / "sweep.py"


@dataclass(frozen=True)
class Options:
    """How to measure, the same for all suites."""

    device: Literal["cpu", "cuda"] = "cpu"
    """What to measure on."""
    threads: int = 1
    """Threads of torch on the CPU."""
    repeats: int = 7
    """How often everything is timed, in turns."""
    burst_s: float = 0.5
    """Seconds of one timing of one thing, about."""
    clock: Clock = "wall"
    """wall is what a run waits for; cpu counts only the seconds that this process has a core, which is steadier where
    others use the machine too. Peers time themselves."""
    only: str = ""
    """Time only what has this text in its name, and the references of that."""
    peer: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """NAME=COMMAND: an outside command that prints its rate as the last number; may be repeated."""
    task: str = "halfcheetah-medium-replay"
    """Whose data and sizes."""
    data: str | None = None
    """A file of data, as in training."""
    output: Path | None = None
    """JSON file to write; runs/benchmark/SUITE-TIME.json if not given."""
    markdown: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Print the table as Markdown."""


Rates = Learner | Sampler | WorldModels | Whole
Chosen = (
    Annotated[Learner, tyro.conf.subcommand(Learner.name)]
    | Annotated[Sampler, tyro.conf.subcommand(Sampler.name)]
    | Annotated[WorldModels, tyro.conf.subcommand(WorldModels.name)]
    | Annotated[Whole, tyro.conf.subcommand(Whole.name)]
    | Annotated[Load, tyro.conf.subcommand(Load.name)]
    | Annotated[Faults, tyro.conf.subcommand(Faults.name)]
)
USED_BY_LOAD = ("output", "markdown")
USED_BY_FAULTS = (*USED_BY_LOAD, "task", "data")


def run(suite: Chosen, options: Options) -> None:
    """Measure one suite, or provoke faults."""
    if isinstance(suite, Faults):
        provoke(suite, options)
    elif isinstance(suite, Load):
        burden(suite, options)
    else:
        measure(suite, options)


def refuse_others(options: Options, used: tuple[str, ...], why: str) -> None:
    """ValueError for options that were given and would not be read."""
    others = [field.name for field in fields(Options) if field.name not in used]
    if given := [name for name in others if getattr(options, name) != getattr(Options(), name)]:
        raise ValueError(f"--{given[0].replace('_', '-')}: {why}")


def provoke(suite: Faults, options: Options) -> None:
    """Every fault in turn, its line as soon as it is over."""
    refuse_others(options, USED_BY_FAULTS, "says how rates are timed; faults are provoked once each")
    if "RAY_ADDRESS" in os.environ:
        raise ValueError("RAY_ADDRESS: faults start a cluster of their own on this machine; expected it unset")
    from dwm_ray.distributed.faults import arena, outcome  # the other suites need no Ray
    from dwm_ray.distributed.faults import suite as faults

    path = options.output or default_path(suite)
    console = Console(stderr=True)
    with TemporaryDirectory() as folder, arena.own_cluster() as address:
        place = arena.Arena(address, Path(folder), SWEEP, faults.words(options.task, options.data), console.print)
        lines = []
        for line in faults.provoke_all(place, options.task, options.data, suite.updates):
            lines.append(line)
            console.print(" | ".join(line.cells()), highlight=False, soft_wrap=True)
            about = {**machine(torch.device("cpu")), "cpus": os.cpu_count(), "load": os.getloadavg()[1]}
            write_json(path, {"faults": [one.to_json() for one in lines], "machine": about})
    print(outcome.markdown_table(lines))
    print(path)


def burden(suite: Load, options: Options) -> None:
    """Measure the index: the floor of Ray's calls first, then each number of actors."""
    suite.check()
    refuse_others(options, USED_BY_LOAD, "has no meaning for the load on the buffer")
    from dwm_ray.distributed import load as site  # the other suites need no Ray

    rows, windows, path = [], [], options.output or default_path(suite)
    about = (suite.samplers, suite.readers, suite.streams, suite.processes, suite.lead_blocks)
    with Console(stderr=True).status("starting Ray") as status, site.cluster():
        for shards in (0, *suite.shards):
            for draw_s in suite.draw_s:
                name = f"{shards} of the buffer" if shards else "bare calls"
                status.update(f"{name}, {draw_s:g} s a block")
                measure = site.measure if shards else site.measure_bare
                window = asdict(measure(site.Crowd(*about, shards), draw_s, suite.warmup_s, suite.seconds))
                windows.append({"shards": shards, "draw_s": draw_s, **window})
                rows.append(load.cells(name, draw_s, window))
    settings = {**asdict(suite), "output": str(path)}
    write_json(path, {"suite": suite.name, "windows": windows, "machine": machine(torch.device("cpu")), **settings})
    if options.markdown:
        print(as_markdown(load.HEADERS, rows))
    else:
        Console().print(as_table(suite.name, load.HEADERS, rows))
    print(path)


def measure(suite: Rates, options: Options) -> None:
    """Measure rates in turns."""
    check(options)
    torch.set_num_threads(options.threads)
    device, path = torch.device(options.device), options.output or default_path(suite)
    with Console(stderr=True).status("loading data") as status:
        bench = Workbench.load(options.task, DataConfig(file=options.data), device)
        works, peers = chosen_works(suite, bench, options.only), [Peer.parse(text) for text in options.peer]
        watch = Stopwatch(device, options.burst_s, options.clock)
        result = run_works(suite.name, suite.unit, works, peers, watch, options.repeats, status.update)
        roofline = suite.roofline(bench, medians(result), options.clock) if isinstance(suite, Sampler) else []
    settings = {**asdict(options), "output": str(path), **asdict(suite)}
    write_json(path, {**result.to_json(), "roofline": roofline, "machine": machine(device), "options": settings})
    if options.markdown:
        print(markdown_table(result))
    else:
        Console().print(terminal_table(result))
    for line in roofline:
        print(line)
    for what, why in result.skipped.items():
        print(f"not measured: {what} ({why})")
    print(path)


def medians(result: Measured) -> dict[str, float]:
    return {name: result.spread(name).median for name in result.rates}


def default_path(suite: Suite | Load | Faults) -> Path:
    return Path("runs/benchmark") / f"{suite.name}-{time.strftime('%Y%m%d-%H%M%S')}.json"


def check(options: Options) -> None:
    """ValueError for options that this machine or a table has no use for."""
    if options.device == "cuda" and not torch.cuda.is_available():
        raise ValueError("--device cuda: torch sees no GPU here")
    if options.threads < 1 or options.repeats < 1 or options.burst_s <= 0:
        raise ValueError("--threads, --repeats and --burst-s: expected positive numbers")
    if options.clock == "cpu" and (options.device != "cpu" or options.threads != 1):
        raise ValueError("--clock cpu: counts one thread of the processor; expected --device cpu and --threads 1")


def chosen_works(suite: Suite, bench: Workbench, only: str) -> list[Work]:
    """The suite's pieces of work whose names hold the text, with their references."""
    works = suite.work(bench)
    wanted = {work.name for work in works if only in work.name}
    wanted |= {work.reference for work in works if work.name in wanted and work.reference}
    if not wanted:
        raise ValueError(f"--only {only!r}: none of {', '.join(work.name for work in works)}")
    return [work for work in works if work.name in wanted]


@main_guard
def main(argv: list[str] | None = None) -> None:
    markers = (tyro.conf.CascadeSubcommandArgs, tyro.conf.OmitArgPrefixes, tyro.conf.OmitSubcommandPrefixes)
    tyro.cli(run, args=sys.argv[1:] if argv is None else argv, description=__doc__, config=markers)


if __name__ == "__main__":
    sys.exit(main())

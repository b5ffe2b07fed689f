"""Measure rates and their ratios on this machine: learner, sampler, world-model training, or a learner as a whole.

Everything is timed in turns and repeated; a table of medians and paired ratios is printed, and the rates go to a JSON
file. --peer NAME=COMMAND times an outside command in turn with ours and reads the last number that it prints.
docs/performance.md says what each ratio means.
"""

from __future__ import annotations

import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Literal

import torch
import tyro
from rich.console import Console

from dwm_ray.benchmark.measure import Clock, Stopwatch, Work
from dwm_ray.benchmark.peers import Peer
from dwm_ray.benchmark.result import Measured, machine, markdown_table, run_works, terminal_table
from dwm_ray.benchmark.suites import Suite
from dwm_ray.benchmark.suites.learner import Learner
from dwm_ray.benchmark.suites.sampler import Sampler
from dwm_ray.benchmark.suites.whole import Whole
from dwm_ray.benchmark.suites.world_model import WorldModels
from dwm_ray.benchmark.workbench import Workbench
from dwm_ray.checkpoint import write_json
from dwm_ray.cli import main_guard
from dwm_ray.config import DataConfig


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


Chosen = (
    Annotated[Learner, tyro.conf.subcommand(Learner.name)]
    | Annotated[Sampler, tyro.conf.subcommand(Sampler.name)]
    | Annotated[WorldModels, tyro.conf.subcommand(WorldModels.name)]
    | Annotated[Whole, tyro.conf.subcommand(Whole.name)]
)


def run(suite: Chosen, options: Options) -> None:
    """Measure one suite."""
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


def default_path(suite: Suite) -> Path:
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

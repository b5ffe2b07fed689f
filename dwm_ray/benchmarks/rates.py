"""Measure a suite of rates in turns: build its work, time it, write every rate, show medians and ratios."""

from __future__ import annotations

from dataclasses import asdict

import torch
from rich.console import Console

from dwm_ray.benchmarks.measure import Stopwatch, Work
from dwm_ray.benchmarks.options import Options
from dwm_ray.benchmarks.peers import Peer
from dwm_ray.benchmarks.result import Measured, grid, machine, run_works
from dwm_ray.benchmarks.suites.learner import Learner
from dwm_ray.benchmarks.suites.sampler import Sampler
from dwm_ray.benchmarks.suites.whole import Whole
from dwm_ray.benchmarks.suites.world_model import WorldModels
from dwm_ray.benchmarks.workloads import Workbench
from dwm_ray.options import DataConfig
from dwm_ray.runs.tensor_files import write_json

Rates = Learner | Sampler | WorldModels | Whole


def measure(suite: Rates, options: Options) -> None:
    """Measure rates in turns."""
    options.check()
    torch.set_num_threads(options.threads)
    device, path = torch.device(options.device), options.path(suite.name)
    with Console(stderr=True).status("loading data") as status:
        bench = Workbench.load(options.task, DataConfig(file=options.data), device)
        works, peers = chosen_works(suite, bench, options.only), [Peer.parse(text) for text in options.peer]
        watch = Stopwatch(device, options.burst_s, options.clock)
        result = run_works(suite.name, suite.unit, works, peers, watch, options.repeats, status.update)
        roofline = (
            suite.roofline(bench, medians(result), options.clock) if isinstance(suite, Sampler | WorldModels) else []
        )
    settings = {**asdict(options), "output": str(path), **asdict(suite)}
    write_json(path, {**result.to_json(), "roofline": roofline, "machine": machine(device), "options": settings})
    grid(result).show(options.markdown)
    for line in roofline:
        print(line)
    for what, why in result.skipped.items():
        print(f"not measured: {what} ({why})")
    print(path)


def medians(result: Measured) -> dict[str, float]:
    return {name: result.spread(name).median for name in result.rates}


def chosen_works(suite: Rates, bench: Workbench, only: str) -> list[Work]:
    """The suite's pieces of work whose names hold the text, with their references."""
    works = suite.work(bench)
    wanted = {work.name for work in works if only in work.name}
    wanted |= {work.reference for work in works if work.name in wanted and work.reference}
    if not wanted:
        raise ValueError(f"--only {only!r}: none of {', '.join(work.name for work in works)}")
    return [work for work in works if work.name in wanted]

"""Measure a suite of rates: build its workloads, time them, write every rate as JSON, print medians and ratios."""

import time
from abc import abstractmethod
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import ClassVar

import torch
from rich.console import Console

from dwm_ray.benchmarks.measure import Timed, Workload, alternating, paired_ratio, parse_peer, rate_spread
from dwm_ray.benchmarks.options import TimedSuite
from dwm_ray.benchmarks.setup import BenchmarkSetup
from dwm_ray.benchmarks.tables import machine, number, show
from dwm_ray.report.table import Cell, Table
from dwm_ray.runs.folder import RunFailed
from dwm_ray.runs.tensor_files import write_json
from dwm_ray.types import Json

HEADERS = ("workload", "rate", "slowest, fastest", "baseline", "ratio", "95 %")


@dataclass(frozen=True)
class RateSuite(TimedSuite):
    """A suite of workloads whose rates are measured and compared."""

    unit: ClassVar[str]
    """Unit of the rates."""

    @abstractmethod
    def workloads(self, setup: BenchmarkSetup) -> list[Workload]:
        """Return the workloads, each after its baseline. Raise ValueError for incompatible options."""

    def run(self, programs: Path) -> None:
        """Measure all workloads. Raise RunFailed after all results are written if a workload failed."""
        self.check()
        torch.set_num_threads(1)
        device, path = torch.device(self.device), self.path
        with Console(stderr=True).status("loading data") as status:
            setup = BenchmarkSetup.load(self.task, self.data, device)
            result = measure_workloads(selected(self, setup), self, device, status.update)
        header = {"suite": self.name, "unit": self.unit, "date": time.strftime("%Y-%m-%d %H:%M:%S")}
        options = {**asdict(self), "output": str(path)}
        write_json(path, {**header, **result, "machine": machine(self.device), "options": options})
        show(Table(f"{self.name}: {self.unit}", list(HEADERS), rows(result)))
        for kind, key in {"not measured": "skipped", "failed": "failed"}.items():
            for name, reason in result[key].items():
                print(f"{kind}: {name} ({reason})")
        print(path)
        if result["failed"]:
            raise RunFailed(f"{', '.join(result['failed'])}: see {path}")


def rows(result: Json) -> list[list[Cell]]:
    """Return table rows: one per workload, or one per baseline if there are several."""
    cells: list[list[Cell]] = []
    for name, spread in result["medians"].items():
        head: list[Cell] = [name, number(spread["median"]), f"{number(spread['low'])}, {number(spread['high'])}"]
        ratios = [ratio for ratio in result["ratios"] if ratio["of"] == name]
        cells += [[*head, r["to"], f"{r['median']:.2f}", f"{r['low']:.2f} to {r['high']:.2f}"] for r in ratios] or [
            [*head, "", "", ""]
        ]
    return cells


def selected(suite: RateSuite, setup: BenchmarkSetup) -> list[Workload]:
    """Return the workloads whose names contain the text of `--only`, and their baselines."""
    workloads, only = suite.workloads(setup), suite.only
    names = {work.name for work in workloads if only in work.name}
    names |= {work.baseline for work in workloads if work.name in names and work.baseline}
    if not names:
        raise ValueError(f"--only {only!r}: no such workload; expected part of {', '.join(w.name for w in workloads)}")
    return [work for work in workloads if work.name in names]


def measure_workloads(
    workloads: list[Workload], options: TimedSuite, device: torch.device, report: Callable[[str], None]
) -> Json:
    """Build and time all workloads; each peer is compared with every workload, as workload / peer.

    The result has the rates of every workload by repeat, medians, and ratios to baselines. skipped and failed give the
    reason for every workload that this machine cannot run or that did not fit in the time limit, or that raised an
    error.
    """
    start = time.monotonic()
    peers = dict(map(parse_peer, options.peer))
    timed, skipped, failed = dict[str, Timed](), dict[str, str](), dict[str, str]()
    for work in workloads:
        report(f"preparing {work.name}")
        timing_s = options.repeats * options.burst_s * (len(timed) + 1)
        if options.limit_s is not None and time.monotonic() - start + timing_s > options.limit_s:
            skipped[work.name] = f"--limit-s {options.limit_s:g}"
            continue
        try:
            timed[work.name] = Timed(work, device, options.burst_s, options.clock)
        except ValueError as error:
            skipped[work.name] = str(error)
        except RuntimeError as error:
            failed[work.name] = " ".join(f"{type(error).__name__}: {error}".split())
    pairs = [(work.name, work.baseline) for work in workloads if work.name in timed and work.baseline in timed]
    pairs += [(name, peer) for name in timed for peer in peers]
    rates = alternating({name: work.rate for name, work in timed.items()} | peers, options.repeats, report)
    return {
        "rates": rates,
        "medians": {name: rate_spread(repeats) for name, repeats in rates.items()},
        "ratios": [
            {"of": name, "to": baseline, **paired_ratio(rates[name], rates[baseline])} for name, baseline in pairs
        ],
        "skipped": skipped,
        "failed": failed,
    }

"""Measure a suite of rates: build its workloads, time them, write every rate as JSON, print medians and ratios."""

import time
from abc import abstractmethod
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import torch
from rich.console import Console

from dwm_ray.benchmarks.measure import Peer, Spread, Timed, Workload, alternating, paired_ratio, rate_spread
from dwm_ray.benchmarks.options import TimedSuite
from dwm_ray.benchmarks.setup import BenchmarkSetup
from dwm_ray.benchmarks.tables import machine, number, show
from dwm_ray.options import DataConfig
from dwm_ray.report.table import Cell, Table
from dwm_ray.runs.folder import RunFailed
from dwm_ray.runs.tensor_files import write_json

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
            setup = BenchmarkSetup.load(self.task, DataConfig(file=self.data), device)
            result = measure_workloads(selected(self, setup), self, device, status.update)
        header = {"suite": self.name, "unit": self.unit, "date": time.strftime("%Y-%m-%d %H:%M:%S")}
        options = {**asdict(self), "output": str(path)}
        write_json(path, {**header, **result.to_json(), "machine": machine(self.device), "options": options})
        show(Table(f"{self.name}: {self.unit}", list(HEADERS), result.rows()))
        for kind, reasons in {"not measured": result.skipped, "failed": result.failed}.items():
            for name, reason in reasons.items():
                print(f"{kind}: {name} ({reason})")
        print(path)
        if result.failed:
            raise RunFailed(f"{', '.join(result.failed)}: see {path}")


@dataclass
class Rates:
    """Rates of all workloads per repeat, and the pairs to compare."""

    rates: dict[str, list[float]] = field(default_factory=dict)
    pairs: list[tuple[str, str]] = field(default_factory=list)
    """(workload, baseline)."""
    skipped: dict[str, str] = field(default_factory=dict)
    """Workload that this machine cannot run or that did not fit in the time limit -> reason."""
    failed: dict[str, str] = field(default_factory=dict)
    """Workload that raised an error -> message."""

    def ratio(self, pair: tuple[str, str]) -> Spread:
        return paired_ratio(self.rates[pair[0]], self.rates[pair[1]])

    def to_json(self) -> dict[str, Any]:
        """Return all rates, with medians and ratios."""
        return {
            "rates": self.rates,
            "medians": {name: asdict(rate_spread(rates)) for name, rates in self.rates.items()},
            "ratios": [{"of": pair[0], "to": pair[1], **asdict(self.ratio(pair))} for pair in self.pairs],
            "skipped": self.skipped,
            "failed": self.failed,
        }

    def rows(self) -> list[list[Cell]]:
        """Return table rows: one per workload, or one per baseline if there are several."""
        rows: list[list[Cell]] = []
        for name, rates in self.rates.items():
            spread = rate_spread(rates)
            head: list[Cell] = [name, number(spread.median), f"{number(spread.low)}, {number(spread.high)}"]
            ratios = [(baseline, self.ratio((name, baseline))) for first, baseline in self.pairs if first == name]
            cells = [[baseline, f"{r.median:.2f}", f"{r.low:.2f} to {r.high:.2f}"] for baseline, r in ratios]
            rows += [[*head, *ratio] for ratio in cells or [["", "", ""]]]
        return rows


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
) -> Rates:
    """Build and time all workloads; each peer is compared with every workload, as workload / peer."""
    start = time.monotonic()
    peers, timed, result = [Peer.parse(peer) for peer in options.peer], dict[str, Timed](), Rates()
    for work in workloads:
        report(f"preparing {work.name}")
        timing_s = options.repeats * options.burst_s * (len(timed) + 1)
        if options.limit_s is not None and time.monotonic() - start + timing_s > options.limit_s:
            result.skipped[work.name] = f"--limit-s {options.limit_s:g}"
            continue
        try:
            timed[work.name] = Timed(work, device, options.burst_s, options.clock)
        except ValueError as error:
            result.skipped[work.name] = str(error)
        except RuntimeError as error:
            result.failed[work.name] = " ".join(f"{type(error).__name__}: {error}".split())
    result.pairs = [(w.name, w.baseline) for w in workloads if w.name in timed and w.baseline in timed]
    result.pairs += [(name, peer.name) for name in timed for peer in peers]
    result.rates = alternating([*timed.values(), *peers], options.repeats, report)
    return result

"""A finished measurement: run a suite, keep every rate, and show medians and ratios.

The JSON holds the rates themselves; medians, ratios and intervals can be made from them again.
"""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from rich import box
from rich.console import Console
from rich.table import Table

from dwm_ray.benchmarks.measure import Entrant, Stopwatch, Timed, Work, interleaved
from dwm_ray.benchmarks.peers import Peer
from dwm_ray.benchmarks.ratios import Spread, paired_ratio, rate_spread

HEADERS = ("what", "rate", "slowest, fastest", "against", "ratio", "95 %")


@dataclass(frozen=True)
class Measured:
    """Rates of all entrants, repeat by repeat, and who is set against whom."""

    suite: str
    unit: str
    rates: dict[str, list[float]]
    pairs: list[tuple[str, str]]
    """(entrant, reference)."""
    skipped: dict[str, str]
    """What this machine cannot run, and why."""

    def spread(self, name: str) -> Spread:
        return rate_spread(self.rates[name])

    def ratio(self, pair: tuple[str, str]) -> Spread:
        return paired_ratio(self.rates[pair[0]], self.rates[pair[1]])

    def to_json(self) -> dict[str, Any]:
        """Everything, with names of machine and time."""
        return {
            "suite": self.suite,
            "unit": self.unit,
            "date": time.strftime("%Y-%m-%d %H:%M:%S"),
            "rates": self.rates,
            "medians": {name: asdict(self.spread(name)) for name in self.rates},
            "ratios": [{"of": of, "to": to, **asdict(self.ratio((of, to)))} for of, to in self.pairs],
            "skipped": self.skipped,
        }

    def rows(self) -> list[list[str]]:
        """Cells: each entrant once, or once per reference where it has several."""
        rows = []
        for name in self.rates:
            about = self.spread(name)
            head = [name, number(about.median), f"{number(about.low)}, {number(about.high)}"]
            pairs = [pair for pair in self.pairs if pair[0] == name]
            rows += [[*head, pair[1], *_ratio_cells(self.ratio(pair))] for pair in pairs] or [[*head, "", "", ""]]
        return rows


def number(value: float) -> str:
    """Three digits."""
    return f"{value:.3g}" if value < 1000 else f"{value:,.0f}".replace(",", " ")


def _ratio_cells(ratio: Spread) -> list[str]:
    return [f"{ratio.median:.2f}", f"{ratio.low:.2f} to {ratio.high:.2f}"]


def run_works(
    suite: str,
    unit: str,
    works: list[Work],
    peers: list[Peer],
    watch: Stopwatch,
    repeats: int,
    tell: Callable[[str], None],
) -> Measured:
    """Build and time everything; each peer is set against every piece of ours, as ours / peer."""
    entrants: list[Entrant] = []
    skipped: dict[str, str] = {}
    for work in works:
        tell(f"preparing {work.name}")
        try:
            entrants.append(Timed(work, watch))
        except ValueError as error:
            skipped[work.name] = str(error)
    timed = {entrant.name for entrant in entrants}
    pairs = [(w.name, w.reference) for w in works if w.reference in timed and w.name in timed]
    pairs += [(work.name, peer.name) for work in works if work.name in timed for peer in peers]
    rates = interleaved([*entrants, *peers], repeats, lambda done: tell(f"repeat {done} of {repeats}"))
    return Measured(suite, unit, rates, [(of, to) for of, to in pairs if to is not None], skipped)


@dataclass(frozen=True)
class Grid:
    """Cells with a title, as they are shown."""

    title: str
    headers: Sequence[str]
    rows: list[list[str]]

    def show(self, as_markdown: bool) -> None:
        """Print it, for a document or for a terminal."""
        if as_markdown:
            print(self.markdown())
        else:
            Console().print(self._table())

    def markdown(self) -> str:
        lines = [self.headers, ["---"] * len(self.headers), *self.rows]
        return "\n".join("| " + " | ".join(line) + " |" for line in lines)

    def _table(self) -> Table:
        table = Table(title=self.title, title_justify="left", box=box.SIMPLE_HEAD)
        for header in self.headers:
            table.add_column(header)
        for row in self.rows:
            table.add_row(*row)
        return table


def grid(result: Measured) -> Grid:
    """The table of a measurement."""
    return Grid(f"{result.suite}: {result.unit}", HEADERS, result.rows())


def machine(device: torch.device) -> dict[str, Any]:
    """Where it was measured."""
    return {
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else cpu_name(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
    }


def cpu_name(path: Path = Path("/proc/cpuinfo")) -> str:
    """The processor's name as Linux tells it."""
    lines = path.read_text().splitlines() if path.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()

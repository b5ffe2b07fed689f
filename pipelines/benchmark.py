"""Measure rates and their ratios on this machine, or inject faults into a sweep. There are suites for the learner, the
sampler, world-model training and replay, for the cost, CPU time and memory of a sweep, for the scaling of samplers and
the load on the buffer index, and for a GPU.

Rates are timed repeatedly in alternating order. The program prints medians and paired ratios and writes all rates to a
JSON file. --peer NAME=COMMAND times an external command as well; the last word of its output is its rate.
docs/benchmarks.md explains every figure.
"""

from dwm_ray.cli import stopping

if __name__ == "__main__":
    stopping.catch_signals()  # before the imports that take seconds

from collections.abc import Callable
from pathlib import Path

import tyro

from dwm_ray.benchmarks.gpu import GpuSuite
from dwm_ray.benchmarks.options import Suite
from dwm_ray.benchmarks.suites.dwm import SamplerSuite, WorldModelSuite
from dwm_ray.benchmarks.suites.faults import FaultsSuite
from dwm_ray.benchmarks.suites.large_data import LargeDataSuite
from dwm_ray.benchmarks.suites.learner import LearnerSuite
from dwm_ray.benchmarks.suites.load import LoadSuite
from dwm_ray.benchmarks.suites.replay import ReplaySuite
from dwm_ray.benchmarks.suites.scaling import ScalingSuite
from dwm_ray.benchmarks.sweep.suite import SweepSuite
from dwm_ray.cli.command_line import main_guard

SUITES: tuple[type[Suite], ...] = (
    LearnerSuite, SamplerSuite, WorldModelSuite, ReplaySuite, GpuSuite,
    SweepSuite, ScalingSuite, LoadSuite, LargeDataSuite, FaultsSuite,
)  # fmt: skip


def parse(argv: list[str] | None = None) -> Suite:
    """Return the suite that the command line selects, with its options."""
    suites: dict[str, Callable[..., Suite]] = {suite.name: suite for suite in SUITES}
    return tyro.extras.subcommand_cli_from_dict(suites, args=argv, description=__doc__)


@main_guard
def main(argv: list[str] | None = None) -> None:
    parse(argv).run(Path(__file__).parent)


if __name__ == "__main__":
    raise SystemExit(main())

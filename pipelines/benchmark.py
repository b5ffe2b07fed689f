"""Measure rates and their ratios on this machine, or provoke faults in a sweep. There are suites for the learner, the
sampler, world-model training and replay, for the cost, CPU time and memory of a sweep, for the scaling of samplers and
the load on the buffer index, and for a GPU.

Rates are timed repeatedly in alternating order. The program prints medians and paired ratios and writes all rates to a
JSON file. --peer NAME=COMMAND times an external command as well; the last word of its output is its rate.
docs/benchmarks.md explains every figure.
"""

from dwm_ray.cli import stopping

if __name__ == "__main__":
    stopping.catch_signals()  # before the imports that take seconds

from pathlib import Path
from typing import Annotated

import tyro

from dwm_ray.benchmarks.gpu import Gpu
from dwm_ray.benchmarks.options import Options
from dwm_ray.benchmarks.rates import measure
from dwm_ray.benchmarks.suites.dwm import Sampler, WorldModels
from dwm_ray.benchmarks.suites.faults import Faults
from dwm_ray.benchmarks.suites.large_data import LargeData
from dwm_ray.benchmarks.suites.learner import Learner
from dwm_ray.benchmarks.suites.load import Load
from dwm_ray.benchmarks.suites.replay import Replay
from dwm_ray.benchmarks.suites.scaling import Scaling
from dwm_ray.benchmarks.sweep.suite import Sweep
from dwm_ray.cli.command_line import main_guard

Suite = (
    Annotated[Learner, tyro.conf.subcommand(Learner.name)]
    | Annotated[Sampler, tyro.conf.subcommand(Sampler.name)]
    | Annotated[WorldModels, tyro.conf.subcommand(WorldModels.name)]
    | Annotated[Replay, tyro.conf.subcommand(Replay.name)]
    | Annotated[Gpu, tyro.conf.subcommand(Gpu.name)]
    | Annotated[Sweep, tyro.conf.subcommand(Sweep.name)]
    | Annotated[Scaling, tyro.conf.subcommand(Scaling.name)]
    | Annotated[Load, tyro.conf.subcommand(Load.name)]
    | Annotated[LargeData, tyro.conf.subcommand(LargeData.name)]
    | Annotated[Faults, tyro.conf.subcommand(Faults.name)]
)


def run(suite: Suite, options: Options) -> None:
    """Measure one suite."""
    if isinstance(suite, Learner | Sampler | WorldModels | Replay):
        measure(suite, options)
    else:
        suite.run(options, Path(__file__).parent)


@main_guard
def main(argv: list[str] | None = None) -> None:
    markers = (tyro.conf.CascadeSubcommandArgs, tyro.conf.OmitArgPrefixes, tyro.conf.OmitSubcommandPrefixes)
    tyro.cli(run, args=argv, description=__doc__, config=markers)


if __name__ == "__main__":
    raise SystemExit(main())

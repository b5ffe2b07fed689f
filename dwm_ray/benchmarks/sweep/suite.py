"""Run a real sweep on its own cluster and measure its cost, its CPU time by kind of process, and its memory.

The trials share one world model and one stream. The cost of the same trials without sharing is computed from the parts;
`--alone` runs some of them separately, as `pipelines/train.py` does, to check that computation.
"""

from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import ClassVar

from rich.console import Console

from dwm_ray.benchmarks.options import WITH_DATA, Options
from dwm_ray.benchmarks.sweep.observed_run import ObservedRun, observe
from dwm_ray.benchmarks.sweep.tables import cpu_seconds, factors, tables, trial_seconds
from dwm_ray.benchmarks.tables import busy_machine, expect_own_cluster, show
from dwm_ray.runs.tensor_files import write_json


@dataclass(frozen=True)
class Sweep:
    """A real sweep (profile laptop, DWM): cost relative to its learners, CPU time by kind of process, memory. Starts
    Ray. Of the common options, only --output, --markdown, --task and --data apply."""

    name: ClassVar[str] = "sweep"

    agents: tuple[str, ...] = ("td3_bc", "iql")
    """Agents; each is run with all horizons and model-free."""
    horizons: tuple[int, ...] = (3, 5)
    """Horizons of the trials with a world model."""
    baselines: bool = True
    """Add model-free trials, one per agent and seed."""
    seeds: int = 1
    """Seeds of each trial."""
    population: int = 1
    """Maximum number of trials of an agent that learn in one population."""
    defaults: bool = False
    """Run the sweep with all its defaults, as the README's first command does; the other options do not apply."""
    alone: int = 1
    """Trials to run separately as well, each with its own world model and stream."""
    updates: int = 20_000
    """Updates of each learner."""
    world_model_updates: int = 6000
    """Updates of the world model."""
    num_segments: int = 100_000
    """Segments of the stream."""

    def check(self) -> None:
        """Raise ValueError for values that cannot be run."""
        for option, value in {**vars(self), "agents": len(self.agents), "horizons": len(self.horizons)}.items():
            if option not in ("baselines", "defaults", "alone") and value < 1:
                raise ValueError(f"--{option.replace('_', '-')}: expected at least 1, not {value}")
        if self.alone < 0:
            raise ValueError(f"--alone: expected 0 or more trials, not {self.alone}")

    def run(self, options: Options, programs: Path) -> None:
        """Run the sweep and the separate trials; write JSON after each run and print the tables."""
        self.check()
        options.refuse_others(WITH_DATA, "does not apply to a sweep, which is run once")
        expect_own_cluster("the sweep")
        path, data, alone = options.path(self.name), options.data_words(), list[ObservedRun]()
        with Console(stderr=True).status("the sweep") as status, TemporaryDirectory() as folder:
            swept = observe(programs / "sweep.py", (*data, *self.sweep_words()), Path(folder) / "sweep")
            self._write(path, swept, alone)
            for index, words in enumerate(self.single_trial_words()):
                status.update(f"separate trial {index + 1} of {self.alone}")
                alone.append(observe(programs / "train.py", (*data, *words), Path(folder) / f"alone-{index}"))
                self._write(path, swept, alone)
        for table in tables(swept, alone):
            show(table, options.markdown)
        print(path)

    def _write(self, path: Path, swept: ObservedRun, alone: list[ObservedRun]) -> None:
        """Write all measurements so far, so that they survive a failure of a later run."""
        measured = {
            "factors": [asdict(factor) for factor in factors(swept, alone)],
            "cpu_s": cpu_seconds(swept),
            "trial_s": trial_seconds(swept),
            "sweep": asdict(swept),
            "alone": [asdict(run) for run in alone],
        }
        write_json(path, {"suite": self.name, **measured, "machine": busy_machine(), "options": asdict(self)})

    def sweep_words(self) -> list[str]:
        """Return the command line of `pipelines/sweep.py`."""
        if self.defaults:
            return []
        axis = f"horizon={','.join(map(str, self.horizons))}"
        baselines = "--baselines" if self.baselines else "--no-baselines"
        repeated = f"--seeds {self.seeds} --population {self.population}".split()
        return ["--dimensions", axis, baselines, "--agents", *self.agents, *repeated, *self._sizes()]

    def single_trial_words(self) -> list[list[str]]:
        """Return one command line of `pipelines/train.py` per separate trial: all agents, then the next seed."""
        numbers = (divmod(index, len(self.agents)) for index in range(0 if self.defaults else self.alone))
        return [["--agent", self.agents[which], "--seed", str(seed), *self._sizes()] for seed, which in numbers]

    def _sizes(self) -> list[str]:
        return (
            f"--profile laptop --world-model dwm --training.num-updates {self.updates} "
            f"--world-model.num-updates {self.world_model_updates} --synthesis.num-segments {self.num_segments}"
        ).split()

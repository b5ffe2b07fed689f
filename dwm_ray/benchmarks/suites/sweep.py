"""A real sweep on a cluster of its own: what it costs, where its CPU time goes, what memory it takes.

Its trials share one world model and one stream. What the same trials would cost without sharing is counted from the
parts; `--alone` runs some of them by themselves, as `pipelines/train.py` does, to see whether that is true.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True)
class Sweep:
    """A real sweep (profile laptop, DWM): its cost beside its learners', CPU time by kind of process, memory. Starts
    Ray. Of the options for all suites, only --output, --markdown, --task and --data apply."""

    name: ClassVar[str] = "sweep"

    agents: tuple[str, ...] = ("td3_bc", "iql")
    """Agents, each with all horizons and model-free."""
    horizons: tuple[int, ...] = (3, 5)
    """Horizons of the trials that imagine."""
    baselines: bool = True
    """Model-free trials too, one for each agent and seed."""
    seeds: int = 1
    """Seeds of each of these."""
    population: int = 1
    """Trials of an agent that may learn as one."""
    alone: int = 1
    """Imagining trials that are run by themselves too, each with its own world model and stream."""
    updates: int = 20_000
    """Updates of each learner."""
    world_model_updates: int = 6000
    """Updates of the world model."""
    num_segments: int = 100_000
    """Segments of the stream."""

    def check(self) -> None:
        """ValueError for what cannot be run."""
        counts = {
            "agents": len(self.agents), "horizons": len(self.horizons), "seeds": self.seeds,
            "population": self.population, "updates": self.updates,
            "world-model-updates": self.world_model_updates, "num-segments": self.num_segments,
        }  # fmt: skip
        for option, value in counts.items():
            if value < 1:
                raise ValueError(f"--{option}: expected at least 1, not {value}")
        if self.alone < 0:
            raise ValueError(f"--alone: expected 0 or more trials, not {self.alone}")

    def together(self) -> list[str]:
        """Words for `pipelines/sweep.py`."""
        axis = f"horizon={','.join(map(str, self.horizons))}"
        free = "--baselines" if self.baselines else "--no-baselines"
        many = ["--seeds", str(self.seeds), "--population", str(self.population)]
        return ["--dimensions", axis, free, "--agents", *self.agents, *many, *self._sizes()]

    def by_themselves(self) -> list[list[str]]:
        """Words for `pipelines/train.py`, once for each trial that is run alone: agents in turn, seed after seed."""
        turns = (divmod(number, len(self.agents)) for number in range(self.alone))
        return [["--agent", self.agents[which], "--seed", str(seed), *self._sizes()] for seed, which in turns]

    def _sizes(self) -> list[str]:
        sizes = {
            "profile": "laptop",
            "world-model": "dwm",
            "training.num-updates": self.updates,
            "world-model.num-updates": self.world_model_updates,
            "synthesis.num-segments": self.num_segments,
        }
        return [word for name, value in sizes.items() for word in (f"--{name}", str(value))]

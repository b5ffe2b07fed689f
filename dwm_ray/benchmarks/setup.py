"""Parts of the product that the suites time, built on recorded data as in a run of the profile `laptop`.

World models are not trained: the time of a matrix product does not depend on the weights.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from dwm_ray.agents.base import new_agent
from dwm_ray.config import RunConfig
from dwm_ray.data.task_data import TaskData, load_task_data
from dwm_ray.experiment import profiles
from dwm_ray.local.compatibility import untrained_learner
from dwm_ray.replay.sources import InlineSource, recorded_ring, start_rtg
from dwm_ray.training.learner import Learner
from dwm_ray.types import Segments
from dwm_ray.world_models.base import WorldModel
from dwm_ray.world_models.parts.build import new_model

RING_ROWS = 16_384
"""Generated rows in a ring; the default of `replay.min_synthetic`."""


@dataclass(frozen=True)
class BenchmarkSetup:
    """A dataset on a device."""

    task_data: TaskData
    device: torch.device
    task: str
    file: str | None
    """Dataset file; None for the data of the task."""

    @staticmethod
    def load(task: str, file: str | None, device: torch.device) -> BenchmarkSetup:
        """Load the dataset of a task. Raise ValueError if it does not exist."""
        task_data = load_task_data(profiles.run_config("laptop").with_values({"task": task, "data.file": file}))
        return BenchmarkSetup(task_data, device, task, file)

    def expect_gpu(self, option: str) -> None:
        """Raise ValueError, naming the option that selects CUDA graphs, on any other device."""
        if self.device.type != "cuda":
            raise ValueError(f"{option}: CUDA graphs need a GPU; expected --device cuda, not {self.device}")

    def config(self, world_model: str, agent: str, **values: Any) -> RunConfig:
        """Return a run of the profile `laptop` on this dataset; `values` by dotted path, as `**{"agent.x": 1}`."""
        config = profiles.run_config("laptop", world_model, agent)
        return config.with_values({"task": self.task, "data.file": self.file, **values})

    def generator(self) -> torch.Generator:
        return torch.Generator(self.device).manual_seed(0)

    def model(self, config: RunConfig) -> WorldModel:
        """Return a world model without gradients, as samplers use it."""
        return new_model(config, self.task_data, self.device).requires_grad_(False).eval()

    def starts(self, config: RunConfig) -> Segments:
        return self.task_data.start_pairs(config.training.discount, self.device)

    def learner(self, config: RunConfig, num_members: int = 1) -> Learner:
        """Return the learner of a population; a stream holds `RING_ROWS` segments that are generated now."""
        config = config.with_values({"synthesis.block_rows": RING_ROWS, "synthesis.num_segments": RING_ROWS})
        model = None if config.world_model is None else self.model(config)
        return untrained_learner(config, self.task_data, model, self.device, num_members)

    def inline_learner(self, config: RunConfig) -> Learner:
        """Return a learner that generates segments within each update, as in the paper of DWM."""
        agent = new_agent(config, self.task_data, self.device)
        recorded = recorded_ring(config, self.task_data, self.device)
        rule, rtg = self.task_data.task.termination, start_rtg(config, self.task_data, self.device)
        source = InlineSource(config, recorded, self.model(config), agent, rule, self.generator(), rtg)
        return Learner([agent], [source], [self.generator()], config.execution)

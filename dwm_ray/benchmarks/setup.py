"""Parts of the product that the suites time, built on real data as in a run of the profile `laptop`.

World models are not trained: the time of a matrix product does not depend on the weights.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from dwm_ray.agents.base import Agent, new_agent
from dwm_ray.blocks.stream import generate_block
from dwm_ray.config import RunConfig
from dwm_ray.data.segment_rows import SegmentShape
from dwm_ray.data.task_data import TaskData, load_task_data
from dwm_ray.experiment import profiles
from dwm_ray.options import DataConfig
from dwm_ray.replay.mixture import Mixture
from dwm_ray.replay.ring import Ring
from dwm_ray.replay.source import BatchSource
from dwm_ray.replay.sources import InlineSource, real_ring, selection, start_rtg, stream_of
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
    data: DataConfig

    @staticmethod
    def load(task: str, data: DataConfig, device: torch.device) -> BenchmarkSetup:
        """Load the dataset of a task. Raise ValueError if it does not exist."""
        task_data = load_task_data(profiles.run_config("laptop").model_copy(update={"task": task, "data": data}))
        return BenchmarkSetup(task_data, device, task, data)

    def expect_gpu(self, option: str) -> None:
        """Raise ValueError, naming the option that selects CUDA graphs, on any other device."""
        if self.device.type != "cuda":
            raise ValueError(f"{option}: CUDA graphs need a GPU; expected --device cuda, not {self.device}")

    def config(self, world_model: str, agent: str, **values: Any) -> RunConfig:
        """Return a run of the profile `laptop` on this dataset; `values` by dotted path, as `**{"agent.x": 1}`."""
        config = profiles.run_config("laptop", world_model, agent)
        return config.model_copy(update={"task": self.task, "data": self.data}).with_values(values)

    def generator(self) -> torch.Generator:
        return torch.Generator(self.device).manual_seed(0)

    def agent(self, config: RunConfig) -> Agent:
        return new_agent(config, self.task_data, self.device)

    def model(self, config: RunConfig) -> WorldModel:
        """Return a world model without gradients, as samplers use it."""
        return new_model(config, self.task_data, self.device).requires_grad_(False).eval()

    def starts(self, config: RunConfig) -> Segments:
        return self.task_data.start_pairs(config.training.discount, self.device)

    def real(self, config: RunConfig) -> Mixture:
        """Return a source of recorded transitions, for model-free learning."""
        return Mixture(real_ring(config, self.task_data, self.device), None, 1.0, config.training.batch_size)

    def stream(self, config: RunConfig) -> BatchSource:
        """Return a source of segments that were generated ahead of time."""
        config = config.with_values({"synthesis.block_rows": RING_ROWS, "synthesis.num_segments": RING_ROWS})
        spec, select = stream_of(config, self.task_data), selection(config)
        rtg, rule = start_rtg(config, self.task_data, self.device), self.task_data.task.termination
        block = generate_block(spec, 0, self.model(config), self.starts(config), rule, rtg)
        shape = SegmentShape.of(block)
        ring = Ring(RING_ROWS * select.rows_per_segment, select.shape(shape), self.device)
        ring.add(select.apply_to_block(spec, 0, shape.fuse(block), shape))
        real = real_ring(config, self.task_data, self.device)
        return Mixture(real, ring, config.replay.real_ratio, config.training.batch_size)

    def inline(self, config: RunConfig, agent: Agent) -> BatchSource:
        """Return a source that generates segments within each update, as in the paper of DWM."""
        real = real_ring(config, self.task_data, self.device)
        rule = self.task_data.task.termination
        rtg = start_rtg(config, self.task_data, self.device)
        return InlineSource(config, real, self.model(config), agent, rule, self.generator(), rtg)

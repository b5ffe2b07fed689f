"""Where a learner's batches come from.

| source_kind | of | batches |
|---|---|---|
| real | runs without world model, agents that plan | recorded transitions |
| stream | models that do not follow the policy (DWM, DAWM, ...) | drawn ahead, mixed with recorded ones |
| rounds | models that follow it and make transitions (DyDiff) | drawn with recent versions of the policy (`rounds`) |
| inline | other models that follow it (one-step baseline) | continued by the model within the update: `InlineSource` |
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch

from dwm_ray.agents.base import Agent
from dwm_ray.blocks.stream import StreamSpec, end_imagined_episodes
from dwm_ray.config import RunConfig
from dwm_ray.data.task_data import TaskData
from dwm_ray.options import ReplayConfig
from dwm_ray.replay.mixture import Mixture
from dwm_ray.replay.ring import Ring
from dwm_ray.replay.selection import Selection
from dwm_ray.replay.source import BatchSource
from dwm_ray.types import Segments, SegmentShape, Termination
from dwm_ray.world_models.base import WorldModel

SourceKind = Literal["real", "stream", "rounds", "inline"]


def source_kind(config: RunConfig) -> SourceKind:
    """Which of them a run needs."""
    if config.world_model is None or config.agent.plugin.plans:
        return "real"
    model = config.world_model.plugin
    if not model.follows_policy:
        return "stream"
    return "rounds" if model.makes_transitions else "inline"


def real_ring(config: RunConfig, task_data: TaskData, device: torch.device) -> Ring:
    """The data set as a ring of length-1 segments on the learner's device."""
    segments = task_data.start_pairs(config.training.discount, device)
    ring = Ring(len(segments), SegmentShape.of(segments), device, count_draws=False)
    ring.add(SegmentShape.of(segments).fuse(segments))
    return ring


def selection(config: RunConfig, horizon: int = 0) -> Selection:
    """What a run keeps of its stream, padded to `horizon` where that is longer than its own."""
    assert config.world_model is not None
    model = config.world_model.plugin
    return Selection(config.filter.plugin(config.filter), config.synthesis.horizon, model.makes_transitions, horizon)


class Intake:
    """What a learner keeps of its stream, block by block."""

    def __init__(self, spec: StreamSpec, admit: Selection, replay: ReplayConfig, device: torch.device) -> None:
        self._spec, self._admit, self._device = spec, admit, device
        self._capacity = min(replay.capacity, spec.num_segments * admit.rows_per_segment)
        self._enough = replay.min_synthetic
        self.ring: Ring | None = None
        """Made when the first block tells its shape."""

    @property
    def filled(self) -> Ring:
        """The ring of a stream that has begun."""
        assert self.ring is not None
        return self.ring

    @property
    def size(self) -> int:
        """Rows that can be drawn."""
        return self.ring.size if self.ring else 0

    @property
    def is_enough(self) -> bool:
        """Have `replay.min_synthetic` rows come?"""
        return self.ring is not None and self.ring.num_added >= self._enough

    def take(self, index: int, block: np.ndarray, shape: SegmentShape) -> None:
        """Keep of block `index`, fused rows [rows, width], what the filter lets through. Rows are copied."""
        rows = self._admit.apply_to_block(self._spec, index, torch.tensor(block, device=self._device), shape)
        if self.ring is None:
            self.ring = Ring(self._capacity, self._admit.shape(shape), self._device)
        self.ring.add(rows)


def mixture(config: RunConfig, real: Ring, synthetic: Ring | None) -> Mixture:
    """Batches of real rows (model-free) or of the run's exact split of real and imagined rows."""
    ratio = 1.0 if synthetic is None else config.replay.real_ratio
    return Mixture(real, synthetic, ratio, config.training.batch_size)


class InlineSource(BatchSource):
    """Batches whose continuations the world model imagines on the spot, following the agent's current policy."""

    def __init__(
        self,
        config: RunConfig,
        real: Ring,
        model: WorldModel,
        agent: Agent,
        rule: Termination,
        generator: torch.Generator,
    ) -> None:
        self._model, self._agent, self._rule, self._generator = model, agent, rule, generator
        self._horizon, self._rtg = config.synthesis.horizon, config.synthesis.target_rtg
        self._discount = config.training.discount
        self._num_real = Mixture.num_real(config.replay.real_ratio, config.training.batch_size)
        self._source = Mixture(real, None, 1.0, config.training.batch_size)

    def next_batch(self, generator: torch.Generator) -> Segments:
        """[B] segments: the first real_ratio of the batch as recorded, the rest continued by the model."""
        real = self._source.next_batch(generator)
        starts = real[self._num_real :]
        imagined = self._model.imagine(
            starts.obs[:, 0],
            starts.act[:, 0],
            policy=lambda obs, step: self._agent.explore(obs, self._generator),
            horizon=self._horizon,
            rtg=self._rtg,
            generator=self._generator,
        )
        imagined = end_imagined_episodes(imagined, self._rule, self._discount)
        if not self._num_real:
            return imagined
        recorded = real[: self._num_real].padded(self._horizon)
        return Segments.cat([recorded.with_first_action(), imagined.with_first_action()])

"""Where a learner's batches come from: real data, real and imagined rows mixed, or imagined within the update.

`Expansion` rolls the world model out from each batch inside the learner's loop: the only way for models that follow
the learning policy (the one-step baseline), and the comparison for those that do not.
"""

from __future__ import annotations

import torch

from dwm_ray.agents.base import Agent
from dwm_ray.config import RunConfig
from dwm_ray.data.transitions import real_segments
from dwm_ray.problem import Problem
from dwm_ray.registry import find
from dwm_ray.replay.mixture import Mixture
from dwm_ray.replay.ring import Ring
from dwm_ray.synthesis import Admission, end_imagined_episodes
from dwm_ray.types import Segments, SegmentShape, Termination
from dwm_ray.world_models.base import WorldModel


def real_ring(config: RunConfig, problem: Problem, device: torch.device) -> Ring:
    """The data set as a ring of length-1 segments on the learner's device."""
    segments = real_segments(problem.episodes, config.training.discount, device)
    ring = Ring(len(segments), SegmentShape.of(segments), device)
    ring.add(SegmentShape.of(segments).fuse(segments))
    return ring


def admission(config: RunConfig) -> Admission:
    """What a run keeps of its stream."""
    cls = find("filters", config.filter.plugin_name())
    return Admission(cls(config.filter), config.synthesis.horizon)


def mixture(config: RunConfig, real: Ring, synthetic: Ring | None) -> Mixture:
    """Batches of real rows (model-free) or of the run's exact split of real and imagined rows."""
    ratio = 1.0 if synthetic is None else config.replay.real_ratio
    return Mixture(real, synthetic, ratio, config.training.batch_size)


class Expansion:
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

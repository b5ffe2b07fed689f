"""Cost of a method from short bursts of the parts of a run, multiplied by the counts of the run.

The parts are gradient steps of the world model, blocks of a stream and updates of the agent. The world model is not
trained: the cost of a network does not depend on its weights.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch

from dwm_ray.blocks.stream import StreamSpec, generate_block
from dwm_ray.config import RunConfig
from dwm_ray.data.task_data import TaskData
from dwm_ray.evaluation.flops import count_flops
from dwm_ray.local.compatibility import untrained_learner
from dwm_ray.replay.sources import source_kind, start_targets
from dwm_ray.studies.meter import Reading, read, timed
from dwm_ray.training.fit import world_model_trainer
from dwm_ray.training.learner import Learner
from dwm_ray.world_models.base import WorldModel, model_options, trained_options
from dwm_ray.world_models.parts.build import model_fingerprint

TRAIN, GENERATE, LEARN, REFRESH = "train the world model", "generate segments", "learn", "refresh segments"


class Context(Protocol):
    """Data and device of the measurement."""

    @property
    def task_data(self) -> TaskData: ...

    @property
    def device(self) -> torch.device: ...


@dataclass(frozen=True)
class PartCost:
    """Cost of work that is done `count` times."""

    name: str
    unit: str
    count: int
    seconds_each: float
    flops_each: float | None = None
    peak_bytes: int | None = None

    @property
    def seconds(self) -> float:
        return self.count * self.seconds_each

    @property
    def flops(self) -> float | None:
        return None if self.flops_each is None else self.count * self.flops_each


@dataclass(frozen=True)
class Bursts:
    """Sizes of the bursts."""

    updates: int
    segments: int
    repeats: int


def parts_of(context: Context, config: RunConfig, bursts: Bursts) -> tuple[list[PartCost], list[PartCost]]:
    """Return (costs that trials share, costs of each trial) of a run."""
    if trained_options(config) is None:
        return [], _learn_parts(context, config, None, bursts)
    train, model = _train_part(context, config, bursts)
    stream = [_generate_part(context, config, model, bursts)] if source_kind(config) == "stream" else []
    return [train, *stream], _learn_parts(context, config, model, bursts)


def _train_part(context: Context, config: RunConfig, bursts: Bursts) -> tuple[PartCost, WorldModel]:
    trainer = world_model_trainer(config, context.task_data, context.device)
    reading = read(lambda: trainer.run(bursts.updates), bursts.updates, bursts.repeats, context.device)
    return _part(TRAIN, "update", model_options(config).num_updates, reading), trainer.averaged


def _generate_part(context: Context, config: RunConfig, model: WorldModel, bursts: Bursts) -> PartCost:
    spec = StreamSpec.of(_short(config, bursts), model_fingerprint(config, context.task_data.identity))
    starts = context.task_data.start_pairs(config.training.discount, context.device)
    sampler, rule = model.with_options(spec.sampling), context.task_data.task.termination
    targets = start_targets(config, context.task_data, context.device)
    reading = read(
        lambda: generate_block(spec, 0, sampler, starts, rule, targets), bursts.segments, bursts.repeats, context.device
    )
    return _part(GENERATE, "segment", config.synthesis.num_segments, reading)


def _learn_parts(context: Context, config: RunConfig, model: WorldModel | None, bursts: Bursts) -> list[PartCost]:
    """Return the cost of updates and, if segments are refreshed with the policy, of the refreshes."""
    trainer = _learner(context, config, model, bursts)
    first_s = timed(lambda: trainer.run(1), context.device)  # includes the first refresh
    reading = read(lambda: trainer.run(bursts.updates), bursts.updates, bursts.repeats, context.device)
    parts = [_part(LEARN, "update", config.training.num_updates, reading)]
    if source_kind(config) == "on-policy":
        count = -(-config.training.num_updates // config.synthesis.refresh_every)
        another = _learner(context, config, model, bursts)  # a learner has one first refresh
        flops = count_flops(lambda: another.run(1)) - reading.flops
        parts.append(PartCost(REFRESH, "cycle", count, max(0.0, first_s - reading.seconds), flops))
    return parts


def _learner(context: Context, config: RunConfig, model: WorldModel | None, bursts: Bursts) -> Learner:
    config = _short(config, bursts) if source_kind(config) == "stream" else config
    return untrained_learner(config, context.task_data, model, context.device)


def _short(config: RunConfig, bursts: Bursts) -> RunConfig:
    return config.with_values({"synthesis.num_segments": bursts.segments, "synthesis.block_rows": bursts.segments})


def _part(name: str, unit: str, count: int, reading: Reading) -> PartCost:
    return PartCost(name, unit, count, reading.seconds, reading.flops, reading.peak_bytes)

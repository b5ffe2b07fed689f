"""What a method costs, from short bursts of the very parts that a run is made of, times the counts of the run.

The parts are gradient steps of the world model, blocks of a stream and updates of the agent. The world model is not
trained: what a network has learned does not change what it costs.
"""

from __future__ import annotations

from dataclasses import dataclass

from dwm_ray.blocks.stream import StreamSpec, generate_block
from dwm_ray.config import RunConfig
from dwm_ray.evaluation.flops import count_flops
from dwm_ray.local.run import agent_trainer, imagined_ring, ready_agent, world_model_trainer
from dwm_ray.replay.ring import Ring
from dwm_ray.replay.sources import source_kind
from dwm_ray.studies.base import Lab
from dwm_ray.studies.meter import Reading, read, timed
from dwm_ray.training.agent import AgentTrainer
from dwm_ray.world_models.base import WorldModel, model_options
from dwm_ray.world_models.parts.build import model_fingerprint


@dataclass(frozen=True)
class RolloutShard:
    """Work that is done `count` times."""

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
    """How long the measuring itself takes."""

    updates: int
    segments: int
    repeats: int


def train_part(lab: Lab, config: RunConfig, bursts: Bursts) -> tuple[RolloutShard, WorldModel]:
    """Training the world model; and the model, to go on with."""
    trainer = world_model_trainer(config, lab.task_data, lab.device)
    reading = read(lambda: trainer.run(bursts.updates), bursts.updates, bursts.repeats, lab.device)
    return _part("train the world model", "update", model_options(config).num_updates, reading), trainer.averaged


def generate_shard(lab: Lab, config: RunConfig, model: WorldModel, bursts: Bursts) -> RolloutShard:
    """Drawing the stream, for a model whose stream does not depend on the policy."""
    short = _short(config, bursts)
    spec = StreamSpec.of(short, model_fingerprint(config, lab.task_data.identity))
    starts = lab.task_data.start_pairs(config.training.discount, lab.device)
    asked, rule = model.with_options(spec.sampling), lab.task_data.task.termination
    reading = read(lambda: generate_block(spec, 0, asked, starts, rule), bursts.segments, bursts.repeats, lab.device)
    return _part("draw segments", "segment", config.synthesis.num_segments, reading)


def learn_parts(lab: Lab, config: RunConfig, model: WorldModel | None, bursts: Bursts) -> list[RolloutShard]:
    """The agent's updates and, for a model that is asked anew every so many of them, its rounds."""
    trainer = _learner(lab, config, model, bursts)
    first_s = timed(lambda: trainer.run(1), lab.device)  # with the first round
    reading = read(lambda: trainer.run(bursts.updates), bursts.updates, bursts.repeats, lab.device)
    parts = [_part("learn", "update", config.training.num_updates, reading)]
    if source_kind(config) == "rounds":
        rounds = -(-config.training.num_updates // config.synthesis.refresh_every)
        another = _learner(lab, config, model, bursts)  # a learner has one first round
        flops = count_flops(lambda: another.run(1)) - reading.flops
        parts.append(RolloutShard("imagine anew", "round", rounds, max(0.0, first_s - reading.seconds), flops))
    return parts


def _learner(lab: Lab, config: RunConfig, model: WorldModel | None, bursts: Bursts) -> AgentTrainer:
    agent = ready_agent(config, lab.task_data, model, lab.device)
    return agent_trainer(config, lab.task_data, agent, model, _ring(lab, config, model, bursts))


def _ring(lab: Lab, config: RunConfig, model: WorldModel | None, bursts: Bursts) -> Ring | None:
    if model is None or source_kind(config) != "stream":
        return None
    return imagined_ring(_short(config, bursts), lab.task_data, model, lab.device)


def _short(config: RunConfig, bursts: Bursts) -> RunConfig:
    """The run with a stream of one burst."""
    return config.with_values({"synthesis.num_segments": bursts.segments, "synthesis.block_rows": bursts.segments})


def _part(name: str, unit: str, count: int, reading: Reading) -> RolloutShard:
    return RolloutShard(name, unit, count, reading.seconds, reading.flops, reading.peak_bytes)


def parts_of(lab: Lab, config: RunConfig, bursts: Bursts) -> tuple[list[RolloutShard], list[RolloutShard]]:
    """(what all trials share, what each trial does for itself) of a run."""
    if config.world_model is None:
        return [], learn_parts(lab, config, None, bursts)
    train, model = train_part(lab, config, bursts)
    drawn = [generate_shard(lab, config, model, bursts)] if source_kind(config) == "stream" else []
    return [train, *drawn], learn_parts(lab, config, model, bursts)

"""Sampler actors: they draw the blocks that the buffer asks for and the rounds that learners ask for, and keep nothing
but loaded models.

A sampler has no state worth saving: a block is decided by its stream's specification and its index (`synthesis`), a
part of a round by the learner's weights and its numbers (`rounds`), so a restarted sampler, or another one, draws the
very same rows.
"""

from __future__ import annotations

import os
from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np
import ray
import torch
from torch import Tensor

from dwm_ray.agents.base import Agent
from dwm_ray.agents.parts.build import new_agent
from dwm_ray.blocks.block_generator import BlockGenerator
from dwm_ray.blocks.micro_batching import MicroBatching
from dwm_ray.blocks.stream import StreamSpec
from dwm_ray.config import RunConfig
from dwm_ray.data.task_data import load_task_data
from dwm_ray.devices import default_device
from dwm_ray.distributed.metrics.gauges import SamplerGauges
from dwm_ray.distributed.workers.sync import export_transfer_stats
from dwm_ray.replay import on_policy
from dwm_ray.replay.sources import selection
from dwm_ray.runs.folder import RunFolder
from dwm_ray.training.model_store import load_model
from dwm_ray.world_models.base import WorldModel, sampling_options


class Sampler:
    """Draws blocks of streams. `config` is any run of the sweep: they share their data."""

    def __init__(self, config: str, run: str, data_fingerprint: str, num_threads: int) -> None:
        torch.set_num_threads(num_threads)
        self._run = RunFolder.at(run)
        self._device = default_device()
        options = RunConfig.model_validate_json(config)
        self._task_data = load_task_data(options, data_fingerprint)
        self._starts = self._task_data.start_pairs(options.training.discount, self._device)
        self._model = lru_cache(maxsize=4)(self._load)
        self._agent = lru_cache(maxsize=8)(self._new_agent)
        name = ray.get_runtime_context().get_actor_name() or ""
        self._gauges = SamplerGauges(self._run.name, name)
        self._micro_batching = MicroBatching(self._gauges.record_oom_split)
        rule, graphs = self._task_data.task.termination, options.execution.sampler_cuda_graphs
        self._generator = BlockGenerator(self._run.shared, self._starts, rule, self._micro_batching, graphs)
        export_transfer_stats(self._run, name)

    def _load(self, fingerprint: str) -> WorldModel:
        return load_model(self._run.fetched(self._run.world_model(fingerprint)), self._device)

    @ray.method(num_returns=2)
    def generate(self, spec: StreamSpec, index: int) -> tuple[np.ndarray, dict[str, Any]]:
        """Generate a block; see `BlockGenerator.generate`. The caller owns both values, so they survive this actor."""
        rows, meta = self._generator.generate(spec, index, lambda: self._model(spec.world_model))
        self._gauges.record(meta["rows"], meta["seconds"])
        return rows, meta

    def pid(self) -> int:
        """Of its process."""
        return os.getpid()

    def idle(self) -> None:
        """Answers when all that was asked before is done."""

    def generate_shard(
        self, config: str, world_model: str, weights: dict[str, Tensor], version: int, part: int
    ) -> on_policy.RolloutShard:
        """One part of a learner's round, imagined with the policy's weights of that version; rows on the CPU."""
        options, agent = self._agent(config)
        agent.load_state_dict(weights)
        model = self._micro_batching.wrap(self._model(world_model).with_options(sampling_options(options)))
        ground = on_policy.RolloutContext(model, self._starts, self._task_data.task.termination, selection(options))
        drawn = on_policy.generate_shard(options, ground, agent, version, part)
        self._gauges.record(drawn.num_segments, drawn.seconds)
        return replace(drawn, rows=drawn.rows.cpu())

    def _new_agent(self, config: str) -> tuple[RunConfig, Agent]:
        options = RunConfig.model_validate_json(config)
        return options, new_agent(options, self._task_data, self._device)

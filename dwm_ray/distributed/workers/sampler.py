"""Sampler actors: generate blocks for the buffer and rollout shards for learners.

A sampler has no state that must be saved. A block depends on its stream's specification and its index
(`blocks.stream`), a shard on the policy's weights, its version and its number (`replay.on_policy`). A restarted
sampler, or another one, generates the same rows.
"""

import os
from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np
import ray
import torch
from torch import Tensor

from dwm_ray.agents.base import Agent, new_agent
from dwm_ray.blocks.block_generator import BlockGenerator
from dwm_ray.blocks.micro_batching import MicroBatching
from dwm_ray.blocks.stream import StreamSpec
from dwm_ray.config import RunConfig
from dwm_ray.data.task_data import load_task_data
from dwm_ray.devices import default_device
from dwm_ray.distributed.metrics.gauges import SamplerGauges, export_transfer_stats
from dwm_ray.replay import on_policy
from dwm_ray.replay.sources import selection, start_rtg
from dwm_ray.runs.folder import RunFolder
from dwm_ray.training.stores import load_model
from dwm_ray.world_models.base import WorldModel, sampling_options


class Sampler:
    """Actor that generates rows for all streams of a run; `config` is any trial of the run, because they share data."""

    def __init__(self, config: str, run: str, data_fingerprint: str, num_threads: int) -> None:
        torch.set_num_threads(num_threads)
        self._run = RunFolder.at(run)
        self._device = default_device()
        options = RunConfig.model_validate_json(config)
        self._task_data = load_task_data(options, data_fingerprint)
        self._starts = self._task_data.start_pairs(options.training.discount, self._device)
        self._rule = self._task_data.task.termination
        self._model = lru_cache(maxsize=4)(self._load)
        self._agent = lru_cache(maxsize=8)(self._new_agent)
        name = ray.get_runtime_context().get_actor_name() or ""
        self._gauges = SamplerGauges(self._run.name, name)
        self._batching = MicroBatching(self._gauges.record_oom_split)
        graphs = options.execution.sampler_cuda_graphs
        self._blocks = BlockGenerator(self._run.shared, self._starts, self._rule, self._rtg, self._batching, graphs)
        export_transfer_stats(self._run, name)

    def _rtg(self, spec: StreamSpec, model: WorldModel) -> Tensor:
        return self._task_data.start_rtg(spec.target_rtg, spec.discount, model.config, self._device)

    def _load(self, fingerprint: str) -> WorldModel:
        return load_model(self._run.fetched(self._run.world_model(fingerprint)), self._device)

    def _new_agent(self, config: str) -> tuple[RunConfig, Agent]:
        options = RunConfig.model_validate_json(config)
        return options, new_agent(options, self._task_data, self._device)

    @ray.method(num_returns=2)
    def generate(self, spec: StreamSpec, index: int) -> tuple[np.ndarray, dict[str, Any]]:
        """Generate a block; see `BlockGenerator.generate`. The caller owns both values, so they survive this actor."""
        rows, meta = self._blocks.generate(spec, index, lambda: self._model(spec.world_model))
        self._gauges.record(meta["rows"], meta["seconds"])
        return rows, meta

    def generate_shard(
        self, config: str, world_model: str, weights: dict[str, Tensor], version: int, shard: int
    ) -> on_policy.RolloutShard:
        """Generate a rollout shard with the policy's weights of that version; rows are on the CPU."""
        options, agent = self._agent(config)
        agent.load_state_dict(weights)
        model = self._batching.wrap(self._model(world_model).with_options(sampling_options(options)))
        rtg = start_rtg(options, self._task_data, self._device)
        context = on_policy.RolloutContext(model, self._starts, self._rule, selection(options), rtg)
        generated = on_policy.generate_shard(options, context, agent, version, shard)
        self._gauges.record(generated.num_segments, generated.seconds)
        return replace(generated, rows=generated.rows.cpu())

    def pid(self) -> int:
        """Return the process id."""
        return os.getpid()

    def idle(self) -> None:
        """Return when all earlier calls are done."""

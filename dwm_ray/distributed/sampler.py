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

from dwm_ray import rounds
from dwm_ray.agents.base import Agent
from dwm_ray.config import RunConfig
from dwm_ray.data.transitions import real_segments
from dwm_ray.distributed.gauges import SamplerGauges
from dwm_ray.distributed.sending import count_traffic
from dwm_ray.halving import Halving
from dwm_ray.problem import default_device, load_problem, new_agent
from dwm_ray.run_folder import RunFolder
from dwm_ray.sources import admission
from dwm_ray.streams.drawing import BlockDrawer
from dwm_ray.synthesis import StreamSpec
from dwm_ray.world_models.base import WorldModel, sampling_options
from dwm_ray.world_models.store import load_model


class Sampler:
    """Draws blocks of streams. `config` is any run of the sweep: they share their data."""

    def __init__(self, config: str, run: str, data_fingerprint: str, num_threads: int) -> None:
        torch.set_num_threads(num_threads)
        self._run = RunFolder.at(run)
        self._device = default_device()
        options = RunConfig.model_validate_json(config)
        self._problem = load_problem(options, data_fingerprint)
        self._starts = real_segments(self._problem.episodes, options.training.discount, self._device)
        self._model = lru_cache(maxsize=4)(self._load)
        self._agent = lru_cache(maxsize=8)(self._new_agent)
        name = ray.get_runtime_context().get_actor_name() or ""
        self._gauges = SamplerGauges(self._run.name, name)
        self._halving = Halving(self._gauges.halved)
        self._drawer = BlockDrawer(self._run.shared, self._starts, self._problem.task.termination, self._halving)
        count_traffic(self._run, name)

    def _load(self, fingerprint: str) -> WorldModel:
        return load_model(self._run.fetched(self._run.world_model(fingerprint)), self._device)

    @ray.method(num_returns=2)
    def draw(self, spec: StreamSpec, index: int) -> tuple[np.ndarray, dict[str, Any]]:
        """See `BlockDrawer.draw`. The caller owns both values: they survive this actor."""
        rows, meta = self._drawer.draw(spec, index, lambda: self._model(spec.world_model))
        self._gauges.drew(meta["rows"], meta["seconds"])
        return rows, meta

    def pid(self) -> int:
        """Of its process."""
        return os.getpid()

    def idle(self) -> None:
        """Answers when all that was asked before is done."""

    def draw_part(
        self, config: str, world_model: str, weights: dict[str, Tensor], version: int, part: int
    ) -> rounds.Part:
        """One part of a learner's round, imagined with the policy's weights of that version; rows on the CPU."""
        options, agent = self._agent(config)
        agent.load_state_dict(weights)
        model = self._halving.of(self._model(world_model).with_options(sampling_options(options)))
        ground = rounds.Ground(model, self._starts, self._problem.task.termination, admission(options))
        drawn = rounds.draw_part(options, ground, agent, version, part)
        self._gauges.drew(drawn.num_segments, drawn.seconds)
        return replace(drawn, rows=drawn.rows.cpu())

    def _new_agent(self, config: str) -> tuple[RunConfig, Agent]:
        options = RunConfig.model_validate_json(config)
        return options, new_agent(options, self._problem, self._device)

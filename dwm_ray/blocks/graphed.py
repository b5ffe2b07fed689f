"""Segments drawn as CUDA graphs: one launch for all steps of the solver over a whole block.

A graph is for one number of rows, that of a stream's blocks. Fewer, such as the last block's or the parts that memory
allows, are drawn as ever, and noise is the same either way: before each replay the graph's generator takes the state
of the caller's, and afterwards gives its own back.
"""

from __future__ import annotations

import copy
from functools import partial

import torch
from torch import Tensor

from dwm_ray.cuda_graphs import Graphs, capture_on
from dwm_ray.types import Policy, Segments
from dwm_ray.world_models.base import WorldModel

OPTION = "execution.sampler_cuda_graphs"


class CudaGraphSampler:
    """A world model (`halving.SegmentSampler`) that replays batches of `num_rows`."""

    def __init__(self, model: WorldModel, num_rows: int) -> None:
        """ValueError for a model or a device that cannot."""
        device = next(model.parameters()).device
        if not model.supports_cuda_graphs:
            raise ValueError(
                f"{OPTION}: world model {model.config.plugin_name()} does not support CUDA graphs; expected False"
            )
        self._model, self._num_rows = model, num_rows
        # Of its own, for other batches would move the memory that networks keep for results of a moment.
        self._recorded = copy.deepcopy(model)
        self._obs = torch.zeros(num_rows, model.spaces.obs_size, device=device)
        self._act = torch.zeros(num_rows, model.spaces.act_size, device=device)
        self._rtg = torch.zeros(num_rows, device=device)
        self._generator = torch.Generator(device)
        self._graphs: Graphs[Segments] = Graphs(capture_on(device, OPTION), (self._generator,), OPTION)

    @property
    def max_horizon(self) -> int:
        return self._model.max_horizon

    def imagine(
        self,
        obs: Tensor,
        act: Tensor,
        *,
        policy: Policy | None,
        horizon: int,
        rtg: float | Tensor,
        generator: torch.Generator,
    ) -> Segments:
        """As `WorldModel.imagine`."""
        if len(obs) != self._num_rows:
            return self._model.imagine(obs, act, policy=policy, horizon=horizon, rtg=rtg, generator=generator)
        self._place(obs, act, rtg)
        self._generator.set_state(generator.get_state())
        drawn = self._graphs(horizon, partial(self._in_place, horizon)).map(torch.clone)
        generator.set_state(self._generator.get_state())
        return drawn

    def _place(self, obs: Tensor, act: Tensor, rtg: float | Tensor) -> None:
        self._obs.copy_(obs)
        self._act.copy_(act)
        if isinstance(rtg, Tensor):
            self._rtg.copy_(rtg)
        else:
            self._rtg.fill_(rtg)

    def _in_place(self, horizon: int) -> Segments:
        return self._recorded.imagine(
            self._obs, self._act, policy=None, horizon=horizon, rtg=self._rtg, generator=self._generator
        )

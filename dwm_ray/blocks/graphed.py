"""Generate segments with CUDA graphs: one launch for all solver steps of a block.

A graph has a fixed number of rows: the block size of its stream. Smaller batches (the last block, micro-batches) run
without a graph. The noise is the same in both cases, because the state of the caller's generator is copied to the
graph's generator before each replay, and back afterwards.
"""

from functools import partial
from typing import Any

import torch
from torch import Tensor

from dwm_ray.cuda_graphs import Graphs, capture_on
from dwm_ray.data.segment_rows import SegmentShape
from dwm_ray.types import Segments
from dwm_ray.world_models.base import WorldModel

OPTION = "execution.sampler_cuda_graphs"


class CudaGraphSampler:
    """`SegmentSampler` that replays CUDA graphs of a world model, which must support them, on batches of `num_rows`."""

    def __init__(self, model: WorldModel, num_rows: int) -> None:
        device = next(model.parameters()).device
        if not model.supports_cuda_graphs:
            raise ValueError(
                f"{OPTION}: world model {model.config.plugin_name()} does not support CUDA graphs; expected False"
            )
        self._model, self._num_rows = model, num_rows
        self.max_horizon, self.uses_first_step = model.max_horizon, model.uses_first_step
        self._obs = torch.zeros(num_rows, model.spaces.obs_size, device=device)
        self._act = torch.zeros(num_rows, model.spaces.act_size, device=device)
        self._rtg = torch.zeros(num_rows, device=device)
        step = SegmentShape(1, model.spaces.obs_size, model.spaces.act_size, num_actions=1)
        self._first = step.split(torch.zeros(num_rows, step.width, device=device))
        self._generator = torch.Generator(device)
        self._graphs: Graphs[Segments] = Graphs(capture_on(device, OPTION), (self._generator,), OPTION)

    def imagine(
        self, obs: Tensor, act: Tensor, *, generator: torch.Generator, horizon: int, **options: Any
    ) -> Segments:
        """Generate segments; see `WorldModel.imagine`."""
        if len(obs) != self._num_rows:
            return self._model.imagine(obs, act, generator=generator, horizon=horizon, **options)
        first = options.get("first")
        self._copy_inputs(obs, act, options["rtg"], first)
        self._generator.set_state(generator.get_state())
        kind = horizon, first is not None
        segments = self._graphs(kind, partial(self._run, *kind)).map(torch.clone)
        generator.set_state(self._generator.get_state())
        return segments

    def _copy_inputs(self, obs: Tensor, act: Tensor, rtg: float | Tensor, first: Segments | None) -> None:
        self._obs.copy_(obs)
        self._act.copy_(act)
        self._rtg.copy_(torch.as_tensor(rtg))
        for name, recorded in self._first.tensors().items() if first is not None else ():
            recorded.copy_(getattr(first, name))

    def _run(self, horizon: int, has_first: bool) -> Segments:
        first = self._first if has_first else None
        return self._model.imagine(
            self._obs, self._act, policy=None, horizon=horizon, rtg=self._rtg, generator=self._generator, first=first
        )

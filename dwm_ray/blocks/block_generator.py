"""Blocks drawn and stored, with what each has cost: by a sampler of Ray or by a run in one process."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from dwm_ray.blocks.block_files import Run, write_block
from dwm_ray.blocks.graphed import CudaGraphSampler
from dwm_ray.blocks.micro_batching import MicroBatching, SegmentSampler
from dwm_ray.blocks.stream import StreamSpec, generate_block
from dwm_ray.runs.clock import Clock
from dwm_ray.types import Segments, SegmentShape, Termination
from dwm_ray.world_models.base import WorldModel

GRAPHED_STREAMS = 4
"""Streams whose graphs a process keeps, each with all the memory that a block needs while it is drawn."""


class BlockGenerator:
    """Draws from recorded start pairs, on their device, as many rows at once as memory allows."""

    def __init__(
        self, run: Run, starts: Segments, rule: Termination, halving: MicroBatching, cuda_graphs: bool = False
    ) -> None:
        self._run, self._starts, self._rule, self._halving = run, starts, rule, halving
        self._cuda_graphs = cuda_graphs
        self._graphed: dict[str, CudaGraphSampler] = {}

    def draw(self, spec: StreamSpec, index: int, model: Callable[[], WorldModel]) -> tuple[np.ndarray, dict[str, Any]]:
        """Block `index` as fused rows [rows, width], and {rows, shape, seconds, cpu_s, oom_splits}; loading the model
        counts. The block is stored when this returns, so that no accepted block is ever lost."""
        clock, splits = Clock(), self._halving.count
        imaginer = self._halving.of(self._imaginer(spec, model().with_options(spec.sampling)))
        segments = generate_block(spec, index, imaginer, self._starts, self._rule)
        shape = SegmentShape.of(segments)
        rows = shape.fuse(segments).cpu().numpy()
        write_block(self._run, spec, index, rows, shape)
        costs = {"seconds": clock.seconds, "cpu_s": clock.cpu_s, "oom_splits": self._halving.count - splits}
        return rows, {"rows": len(rows), "shape": shape, **costs}

    def _imaginer(self, spec: StreamSpec, model: WorldModel) -> SegmentSampler:
        """The model, or its graphs with `execution.sampler_cuda_graphs`: those of the last few streams are kept."""
        if not self._cuda_graphs:
            return model
        name = spec.fingerprint
        if name not in self._graphed:
            for oldest in list(self._graphed)[: max(0, len(self._graphed) - GRAPHED_STREAMS + 1)]:
                del self._graphed[oldest]
            self._graphed[name] = CudaGraphSampler(model, spec.block_rows)
        return self._graphed[name]

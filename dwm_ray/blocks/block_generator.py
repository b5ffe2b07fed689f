"""Generate and store blocks, in a sampler actor or in a run in one process."""

from collections.abc import Callable
from typing import Any

import numpy as np
from torch import Tensor

from dwm_ray.blocks.block_files import Run, write_block
from dwm_ray.blocks.graphed import CudaGraphSampler
from dwm_ray.blocks.micro_batching import MicroBatching, SegmentSampler
from dwm_ray.blocks.stream import StreamSpec, generate_block
from dwm_ray.data.segment_rows import SegmentShape
from dwm_ray.runs.clock import Clock
from dwm_ray.types import Segments, Termination
from dwm_ray.world_models.base import WorldModel

MAX_GRAPHED_STREAMS = 4
"""Number of streams whose CUDA graphs a process retains; each holds the memory for generating one block."""
StartRtg = Callable[[StreamSpec, WorldModel], Tensor]
"""Return-to-go [N] of a stream's start pairs; see `blocks.stream.generate_block`."""


class BlockGenerator:
    """Generator of blocks from recorded start pairs, on the device of the pairs."""

    def __init__(
        self,
        run: Run,
        starts: Segments,
        rule: Termination,
        start_rtg: StartRtg,
        micro_batching: MicroBatching,
        cuda_graphs: bool = False,
    ) -> None:
        self._start_rtg, self._cuda_graphs = start_rtg, cuda_graphs
        self._run, self._starts, self._rule, self._micro_batching = run, starts, rule, micro_batching
        self._graphed: dict[str, CudaGraphSampler] = {}

    def generate(
        self, spec: StreamSpec, index: int, model: Callable[[], WorldModel]
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Generate block `index` and store it before returning it, so that no accepted block is lost.

        Returns:
            Fused rows [rows, width], and {rows, shape, seconds, cpu_s, oom_splits}. The costs include `model()`.
        """
        clock, splits = Clock(), self._micro_batching.num_splits
        loaded = model()
        sampler = self._micro_batching.wrap(self._sampler(spec, loaded.with_options(spec.sampling)))
        rtg = self._start_rtg(spec, loaded)
        segments = generate_block(spec, index, sampler, self._starts, self._rule, rtg)
        shape = SegmentShape.of(segments)
        rows = shape.fuse(segments).cpu().numpy()
        write_block(self._run, spec, index, rows, shape)
        splits = self._micro_batching.num_splits - splits
        costs = {"seconds": clock.seconds, "cpu_s": clock.cpu_s, "oom_splits": splits}
        return rows, {"rows": len(rows), "shape": shape, **costs}

    def _sampler(self, spec: StreamSpec, model: WorldModel) -> SegmentSampler:
        """Return the model, or its CUDA graphs for this stream if `execution.sampler_cuda_graphs` is set."""
        if not self._cuda_graphs:
            return model
        name = spec.fingerprint
        if name not in self._graphed:
            for oldest in list(self._graphed)[: max(0, len(self._graphed) - MAX_GRAPHED_STREAMS + 1)]:
                del self._graphed[oldest]
            self._graphed[name] = CudaGraphSampler(model, spec.block_rows)
        return self._graphed[name]

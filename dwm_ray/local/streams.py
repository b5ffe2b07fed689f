"""Read a stream in one process; generate and store missing blocks.

One pass over the blocks, in index order, serves all runs of a stream. The journal has the same format as on Ray.
"""

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import torch

from dwm_ray.blocks import block_files
from dwm_ray.blocks.block_generator import BlockGenerator
from dwm_ray.blocks.journal import Journal, new_cursor
from dwm_ray.blocks.micro_batching import MicroBatching
from dwm_ray.blocks.stream import StreamSpec
from dwm_ray.config import RunConfig
from dwm_ray.data.segment_rows import SegmentShape
from dwm_ray.data.task_data import TaskData
from dwm_ray.replay.ring import Ring
from dwm_ray.replay.sources import SelectedRing, start_rtg, stream_of, stream_rings
from dwm_ray.runs.folder import RunFolder
from dwm_ray.world_models.base import WorldModel

SAMPLER = "in process"
"""Name of the sampler in the journal."""
Generate = Callable[[int], tuple[np.ndarray, dict[str, Any]]]
"""Index -> the stored block and its costs (`BlockGenerator.generate`)."""


def read_stream(
    configs: Sequence[RunConfig], task_data: TaskData, model: WorldModel, run: RunFolder, device: torch.device
) -> dict[str, Ring]:
    """Return the rings of runs that learn from one stream, by `ring_key`."""
    spec, rings = stream_of(configs[0], task_data), stream_rings(configs, task_data, device)
    starts, rtg = task_data.start_pairs(spec.discount, device), start_rtg(configs[0], task_data, device)
    rule, graphs = task_data.task.termination, configs[0].execution.sampler_cuda_graphs
    generator = BlockGenerator(run.shared, starts, rule, lambda spec, model: rtg, MicroBatching(), graphs)
    stream = LocalStream(run, spec, lambda index: generator.generate(spec, index, lambda: model))
    stream.read(list(rings.values()), [config.trial_id for config in configs])
    return {key: ring.ring for key, ring in rings.items()}


class LocalStream:
    """Reader of one stream."""

    def __init__(self, run: RunFolder, spec: StreamSpec, generate: Generate) -> None:
        self._run, self._spec, self._generate = run, spec, generate
        self._folder = block_files.stream_folder(run.root, spec)
        run.pull(self._folder)
        self._journal = Journal(self._folder)
        self._stored = self._journal.reopen(block_files.stored_blocks(run.shared, spec))

    def read(self, rings: Sequence[SelectedRing], trials: Sequence[str]) -> None:
        """Add all blocks to all rings and record them for all trials; upload the journal even after an error."""
        cursors, num_rows = [new_cursor(trial) for trial in trials], 0
        try:
            for index in range(self._spec.num_blocks):
                block, shape = self._block(index)
                for ring in rings:
                    ring.add(index, block, shape)
                num_rows += len(block)
                for cursor in cursors:
                    self._journal.record_cursor(cursor, index + 1, num_rows, is_open=index + 1 < self._spec.num_blocks)
            block_files.mark_complete(self._run.shared, self._spec, self._journal.seconds)
        finally:
            self._run.push(self._folder)
        self._run.pull(self._folder)

    def _block(self, index: int) -> tuple[np.ndarray, SegmentShape]:
        """Return fused rows [rows, width] and their shape."""
        if index in self._stored:
            return block_files.read_block(self._run.shared, self._spec, index), self._shape
        rows, meta = self._generate(index)
        costs = {name: meta[name] for name in ("seconds", "cpu_s", "oom_splits")}
        self._journal.record_block(index, len(rows), accepted=True, **costs, sampler=SAMPLER)
        return rows, meta["shape"]

    @cached_property
    def _shape(self) -> SegmentShape:
        """Shape of the stored blocks."""
        return block_files.read_shape(self._run.shared, self._spec)

"""A run's stream in one process, without Ray: blocks that are stored are read, the others are drawn and stored first.

One pass over the blocks serves all trials that learn from the stream, and holds one block at a time. It goes by the
blocks' numbers, so what is learned does not depend on which of them were there. The journal is the one that the buffer
would write, with a cursor for every trial.
"""

from __future__ import annotations

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
from dwm_ray.data.task_data import TaskData
from dwm_ray.experiment.search_space import Trial
from dwm_ray.replay.ring import Ring
from dwm_ray.replay.sharing import intakes_of, stream_of
from dwm_ray.replay.sources import Intake
from dwm_ray.runs.folder import RunFolder
from dwm_ray.types import SegmentShape
from dwm_ray.world_models.base import WorldModel

HERE = "in process"
"""Who drew a block, in the journal."""
Draw = Callable[[int], tuple[np.ndarray, dict[str, Any]]]
"""Index -> a block that is stored by then, and what is to be known of it (`BlockGenerator.generate`)."""


def stored_rings(
    configs: Sequence[RunConfig],
    task_data: TaskData,
    model: WorldModel,
    run: RunFolder,
    device: torch.device,
    horizon: int = 0,
) -> dict[str, Ring]:
    """The rings of runs that learn from one stream, by `stream_key`; rows are padded to `horizon`."""
    spec, intakes = stream_of(configs[0], task_data), intakes_of(configs, task_data, device, horizon)
    starts = task_data.start_pairs(spec.discount, device)
    graphs = configs[0].execution.sampler_cuda_graphs
    generator = BlockGenerator(run.shared, starts, task_data.task.termination, MicroBatching(), graphs)
    stream = LocalStream(run, spec, lambda index: generator.generate(spec, index, lambda: model))
    stream.read(list(intakes.values()), [Trial(config, {}).id for config in configs])
    return {share: intake.filled for share, intake in intakes.items()}


class LocalStream:
    """See the module."""

    def __init__(self, run: RunFolder, spec: StreamSpec, draw: Draw) -> None:
        self._run, self._spec, self._draw = run, spec, draw
        self._folder = block_files.stream_folder(run.root, spec)
        run.pull(self._folder)
        self._journal = Journal(self._folder)
        self._there = self._journal.reopen(block_files.stored_blocks(run.shared, spec))

    def read(self, intakes: Sequence[Intake], trials: Sequence[str]) -> None:
        """All blocks into all intakes, and booked for all trials. What was booked is sent to the run's storage, however
        this ends."""
        cursors, handed = [new_cursor(trial) for trial in trials], 0
        try:
            for index in range(self._spec.num_blocks):
                rows, shape = self._block(index)
                for intake in intakes:
                    intake.take(index, rows, shape)
                handed += len(rows)
                for cursor in cursors:
                    self._journal.record_cursor(cursor, index + 1, handed, is_open=index + 1 < self._spec.num_blocks)
            block_files.mark_complete(self._run.shared, self._spec, self._journal.seconds)
        finally:
            self._run.push(self._folder)
        self._run.pull(self._folder)

    def _block(self, index: int) -> tuple[np.ndarray, SegmentShape]:
        """Fused rows [rows, width] and their shape."""
        if index in self._there:
            return block_files.read_block(self._run.shared, self._spec, index), self._shape
        rows, meta = self._draw(index)
        costs = {name: meta[name] for name in ("seconds", "cpu_s", "oom_splits")}
        self._journal.record_block(index, len(rows), accepted=True, **costs, sampler=HERE)
        return rows, meta["shape"]

    @cached_property
    def _shape(self) -> SegmentShape:
        """Of stored blocks."""
        return block_files.read_shape(self._run.shared, self._spec)

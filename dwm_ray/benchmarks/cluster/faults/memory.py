"""A sampler without enough memory: the kernel refuses an allocation, and the sampler continues with micro-batches."""

import resource
import time
from dataclasses import replace
from typing import Any

import numpy as np
import psutil
import ray
import torch

from dwm_ray.benchmarks.cluster.faults.checks import Outcome
from dwm_ray.benchmarks.cluster.faults.harness import FaultHarness
from dwm_ray.benchmarks.cluster.throughput import MODEL, untrained_services
from dwm_ray.blocks.block_files import stream_folder
from dwm_ray.blocks.journal import Journal
from dwm_ray.blocks.stream import StreamSpec, generate_block
from dwm_ray.config import RunConfig
from dwm_ray.data.segment_rows import SegmentShape
from dwm_ray.data.task_data import TaskData
from dwm_ray.replay.sources import start_targets
from dwm_ray.runs.folder import RunFolder
from dwm_ray.training.stores import load_model

ALLOWED_BYTES = 150_000_000
"""Memory that the sampler may allocate after it has loaded its model; half of what a block needs."""
BLOCK_ROWS = 8192
WARM_UP_ROWS = 64
OPTIONS = {
    "world_model.denoiser": "mlp",
    "world_model.dim": 128,
    "synthesis.block_rows": BLOCK_ROWS,
    "synthesis.num_segments": 2 * BLOCK_ROWS,
    "cluster.num_samplers": 1,
    "cluster.learner_cpus": 0.5,
}


def sampler_memory(harness: FaultHarness, base: RunConfig) -> Outcome:
    """Generate two blocks through a real buffer and sampler; compare the first with the block without a limit."""
    config = base.with_values(OPTIONS)
    with untrained_services(config, harness.folder / "memory") as (services, spec, run, task_data):
        [sampler] = services.samplers
        warm_up = replace(spec, num_segments=WARM_UP_ROWS, block_rows=WARM_UP_ROWS)
        ray.get(sampler.generate.remote(warm_up, 0)[1])  # loads the model and lazily loaded libraries
        pid = ray.get(sampler.pid.remote())
        limit = psutil.Process(pid).memory_info().data + ALLOWED_BYTES
        resource.prlimit(pid, resource.RLIMIT_DATA, (limit, resource.RLIM_INFINITY))
        started = time.time()
        blocks = _all_blocks(services.buffer.of(spec), spec)
        seconds = time.time() - started
    splits = Journal(stream_folder(run.root, spec)).oom_splits
    same = np.allclose(blocks[0], _expected(config, run, task_data, spec), rtol=0, atol=1e-3)
    rows = "same rows as" if same else "OTHER rows than"
    behaviour = f"split {splits} times and generated both blocks in {seconds:.0f} s; {rows} with enough memory"
    exact = sum(map(len, blocks.values())) == spec.num_segments
    return Outcome("a sampler out of memory", behaviour, None, "no row", exact, harness.left(), same and splits > 0)


def _all_blocks(buffer: Any, spec: StreamSpec) -> dict[int, np.ndarray]:
    blocks: dict[int, np.ndarray] = {}
    while True:
        delivery = ray.get(buffer.fetch.remote(spec, "reader", 1, 5.0, len(blocks)))
        blocks |= {index: np.array(ray.get(ref)) for index, [ref] in delivery.blocks}
        if delivery.complete:
            return blocks


def _expected(config: RunConfig, run: RunFolder, task_data: TaskData, spec: StreamSpec) -> np.ndarray:
    device = torch.device("cpu")
    model = load_model(run.world_model(MODEL), device).with_options(spec.sampling)
    starts = task_data.start_pairs(config.training.discount, device)
    targets = start_targets(config, task_data, device)
    segments = generate_block(spec, 0, model, starts, task_data.task.termination, targets)
    rows: np.ndarray = SegmentShape.of(segments).fuse(segments).numpy()
    return rows

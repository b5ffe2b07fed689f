"""Limited memory of a sampler, a disk that blocks for a while, and a full disk (a file system in a file).

Without enough memory, the kernel refuses an allocation, and the sampler continues with micro-batches.
"""

import os
import resource
import shlex
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import ray
import torch

from dwm_ray.benchmarks.cluster.faults import checks
from dwm_ray.benchmarks.cluster.faults.checks import Outcome
from dwm_ray.benchmarks.cluster.faults.harness import FaultHarness, Sweep
from dwm_ray.benchmarks.cluster.faults.killed import ENDLESS, SMALL, wait_for_blocks, wait_for_progress
from dwm_ray.benchmarks.cluster.throughput import MODEL, read_blocks, untrained_services
from dwm_ray.blocks.block_files import stream_folder
from dwm_ray.blocks.journal import Journal
from dwm_ray.blocks.stream import StreamSpec, generate_block
from dwm_ray.config import RunConfig
from dwm_ray.data.segment_rows import SegmentShape
from dwm_ray.data.task_data import TaskData
from dwm_ray.replay.sources import start_rtg
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
        start = time.time()
        blocks = read_blocks(services.buffer, spec)
        seconds = time.time() - start
    splits = Journal(stream_folder(run.root, spec)).oom_splits
    same = np.allclose(blocks[0], _expected(config, run, task_data, spec), rtol=0, atol=1e-3)
    rows = "same rows as" if same else "OTHER rows than"
    response = f"halved its batch {splits} times, generated both blocks in {seconds:.0f} s; {rows} without the limit"
    exact = sum(map(len, blocks.values())) == spec.num_segments
    return Outcome("sampler out of memory", response, None, "no rows", exact, harness.leftovers(), same and splits > 0)


def _expected(config: RunConfig, run: RunFolder, task_data: TaskData, spec: StreamSpec) -> np.ndarray:
    device = torch.device("cpu")
    model = load_model(run.world_model(MODEL), device).with_options(spec.sampling)
    starts = task_data.start_pairs(config.training.discount, device)
    rtg = start_rtg(config, task_data, device)
    segments = generate_block(spec, 0, model, starts, task_data.task.termination, rtg)
    rows: np.ndarray = SegmentShape.of(segments).fuse(segments).numpy()
    return rows


SIZE_MB = 2048
"""Size of the disk image, larger than the stream; the file is sparse."""
BLOCKED_S = 6.0
SIZES = shlex.split("""
    --training.num-updates 1500 --training.log-every 100 --training.checkpoint-every 400
    --agents td3_bc --cluster.max-failures 1
""")
TOOLS = ("mkfs.ext4", "mount", "umount", "fsfreeze")
BLOCKED, FULL = "unresponsive storage", "full disk"


def blocked_and_full(harness: FaultHarness) -> list[Outcome]:
    """Run one sweep whose folder is on such a disk."""
    missing = _unavailable()
    if missing:
        return [Outcome.not_run(BLOCKED, missing), Outcome.not_run(FULL, missing)]
    with _disk(harness.folder) as disk:
        sweep = harness.sweep(*SMALL, *ENDLESS, *SIZES, output=disk)
        sweep.wait(lambda: min(checks.updates(sweep.run).values(), default=0) > 0, "running learners")
        blocked, full = _blocked(disk, sweep), _full(harness, disk, sweep)
        return [replace(blocked, exact=full.exact), full]


def _unavailable() -> str | None:
    if os.geteuid() != 0:
        return "only root can mount a disk"
    missing = [tool for tool in TOOLS if shutil.which(tool) is None]
    return f"{missing[0]} is not installed" if missing else None


@contextmanager
def _disk(folder: Path) -> Iterator[Path]:
    image, mounted = folder / "disk.img", folder / "disk"
    mounted.mkdir()
    with image.open("wb") as file:
        file.truncate(SIZE_MB * 2**20)
    _run("mkfs.ext4", "-q", "-m", "0", str(image))
    _run("mount", "-o", "loop", str(image), str(mounted))
    try:
        yield mounted
    finally:
        _run("umount", "--lazy", str(mounted))


def _blocked(disk: Path, sweep: Sweep) -> Outcome:
    """Block every write, like a network file system that does not answer."""
    _run("fsfreeze", "--freeze", str(disk))
    try:
        time.sleep(BLOCKED_S)
    finally:
        _run("fsfreeze", "--unfreeze", str(disk))
    restored, before = time.time(), checks.updates(sweep.run)
    recovered = wait_for_blocks(sweep, restored)
    wait_for_progress(sweep, before)
    idle = not [line for line in checks.blocks(sweep.run, restored - BLOCKED_S + 1) if line["time"] < restored - 0.1]
    response = f"all writes blocked for {BLOCKED_S:g} s, then normal operation"
    return Outcome(BLOCKED, response, recovered - restored, "no rows", None, (), idle)


def _full(harness: FaultHarness, disk: Path, sweep: Sweep) -> Outcome:
    """Fill the disk: the sweep ends with the cause; after space is freed, `--resume` finishes it."""
    ballast = disk / "ballast"
    with ballast.open("wb") as file:
        for size in (2**24, 2**20, 2**12):
            while _allocate(file.fileno(), size):
                pass
    start = time.time()
    code, seconds = sweep.exit_code(), time.time() - start
    is_explained, leftovers = "No space left" in sweep.output(), harness.leftovers()
    ballast.unlink()
    code_resumed, statuses = harness.resume(sweep.run).exit_code(), set(checks.statuses(sweep.run).values())
    ending = f"exit code {code} after {seconds:.0f} s{', with the cause' if is_explained else ''}"
    response = f"{ending}; after space was freed, --resume ended with trials {', '.join(sorted(statuses))}"
    passed = is_explained and code != 0 and code_resumed == 0 and statuses == {"done"}
    return Outcome(FULL, response, None, "–", checks.rows_exact(sweep.run), leftovers, passed)


def _allocate(file: int, size: int) -> bool:
    """Extend a file by `size` allocated bytes; return False if there is no space."""
    try:
        os.posix_fallocate(file, os.fstat(file).st_size, size)
    except OSError:
        return False
    return True


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)

"""A disk that blocks for a while, and a full disk: a file system in a file."""

import os
import shlex
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from dwm_ray.benchmarks.cluster.faults import checks
from dwm_ray.benchmarks.cluster.faults.checks import Outcome
from dwm_ray.benchmarks.cluster.faults.harness import FaultHarness, Sweep
from dwm_ray.benchmarks.cluster.faults.killed import ENDLESS, SMALL, wait_for_blocks, wait_for_progress

SIZE_MB = 2048
"""Size of the disk image, larger than the stream; the file is sparse."""
BLOCKED_S = 6.0
SIZES = shlex.split("""
    --training.num-updates 1500 --training.log-every 100 --training.checkpoint-every 400
    --agents td3_bc --cluster.max-failures 1
""")
TOOLS = ("mkfs.ext4", "mount", "umount", "fsfreeze")
BLOCKED, FULL = "storage that blocks", "storage that is full"


def blocked_and_full(harness: FaultHarness) -> list[Outcome]:
    """Run one sweep whose folder is on such a disk."""
    obstacle = _obstacle()
    if obstacle:
        return [Outcome.not_run(BLOCKED, obstacle), Outcome.not_run(FULL, obstacle)]
    with _disk(harness.folder) as disk:
        sweep = harness.sweep(*SMALL, *ENDLESS, *SIZES, output=disk)
        sweep.wait(lambda: min(checks.updates(sweep.run).values(), default=0) > 0, "running learners")
        blocked, full = _blocked(disk, sweep), _full(harness, disk, sweep)
        return [replace(blocked, exact=full.exact), full]


def _obstacle() -> str | None:
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
    thawed, before = time.time(), checks.updates(sweep.run)
    back = wait_for_blocks(sweep, thawed)
    wait_for_progress(sweep, before)
    quiet = not [line for line in checks.blocks(sweep.run, thawed - BLOCKED_S + 1) if line["time"] < thawed - 0.1]
    behaviour = f"all writes waited {BLOCKED_S:g} s, then as before"
    return Outcome(BLOCKED, behaviour, back - thawed, "no row", None, (), quiet)


def _full(harness: FaultHarness, disk: Path, sweep: Sweep) -> Outcome:
    """Fill the disk: the sweep ends with the reason; with free space again, `--resume` finishes it."""
    ballast = disk / "ballast"
    with ballast.open("wb") as file:
        for size in (2**24, 2**20, 2**12):
            while _allocate(file.fileno(), size):
                pass
    started = time.time()
    code, seconds = sweep.exit_code(), time.time() - started
    explained, left = "No space left" in sweep.output(), harness.left()
    ballast.unlink()
    code_resumed, found = harness.resume(sweep.run).exit_code(), set(checks.statuses(sweep.run).values())
    ended = f"ended with code {code} after {seconds:.0f} s{', with the reason' if explained else ''}"
    behaviour = f"{ended}; with free space --resume: {', '.join(sorted(found))}"
    good = explained and code != 0 and code_resumed == 0 and found == {"done"}
    return Outcome(FULL, behaviour, None, "–", checks.rows_exact(sweep.run), left, good)


def _allocate(file: int, size: int) -> bool:
    """Extend a file by `size` allocated bytes; return False if there is no space."""
    try:
        os.posix_fallocate(file, os.fstat(file).st_size, size)
    except OSError:
        return False
    return True


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)

"""A disk that stands still for a while, and one that is full: a file system of its own, in a file."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from dwm_ray.benchmarks.cluster.faults import checks
from dwm_ray.benchmarks.cluster.faults.harness import Arena, Sweep
from dwm_ray.benchmarks.cluster.faults.killed import ENDLESS, SMALL
from dwm_ray.benchmarks.cluster.faults.outcome import NotRun, Outcome

SIZE_MB = 2048
"""More than the endless stream fills until the sweep is over; the file takes up what is written."""
STILL_S = 6.0
TOOLS = ("mkfs.ext4", "mount", "umount", "fsfreeze")


def slow_and_full(arena: Arena) -> list[Outcome | NotRun]:
    """One sweep whose folder lies on such a disk."""
    why = _cannot()
    if why:
        return [NotRun("storage that stands still", why), NotRun("storage that is full", why)]
    with _disk(arena.folder) as disk:
        sizes = ["--training.num-updates", "1500", "--training.log-every", "100", "--training.checkpoint-every", "400"]
        sweep = arena.sweep(*SMALL, *ENDLESS, *sizes, "--agents", "td3_bc", "--cluster.max-failures", "1", output=disk)
        sweep.wait(lambda: min(checks.updates(sweep.run).values(), default=0) > 0, "learners at work")
        still, full = _still(disk, sweep), _full(arena, disk, sweep)
        return [replace(still, exact=full.exact), full]


def _cannot() -> str | None:
    if os.geteuid() != 0:
        return "only root can mount a disk"
    missing = [tool for tool in TOOLS if subprocess.run(["which", tool], capture_output=True).returncode]
    return f"{missing[0]} is not installed" if missing else None


@contextmanager
def _disk(folder: Path) -> Iterator[Path]:
    image, mounted = folder / "disk.img", folder / "disk"
    mounted.mkdir()
    with image.open("wb") as file:
        file.truncate(SIZE_MB * 2**20)
    _do("mkfs.ext4", "-q", "-m", "0", str(image))
    _do("mount", "-o", "loop", str(image), str(mounted))
    try:
        yield mounted
    finally:
        _do("umount", "--lazy", str(mounted))


def _still(disk: Path, sweep: Sweep) -> Outcome:
    """Every write waits, as on a share that does not answer."""
    _do("fsfreeze", "--freeze", str(disk))
    try:
        time.sleep(STILL_S)
    finally:
        _do("fsfreeze", "--unfreeze", str(disk))
    thawed, before = time.time(), checks.updates(sweep.run)
    again = sweep.wait(lambda: [x["time"] for x in checks.draws(sweep.run) if x["time"] > thawed], "new blocks")[0]
    sweep.wait(lambda: sum(checks.updates(sweep.run).values()) > sum(before.values()), "learners that go on")
    quiet = not [x for x in checks.draws(sweep.run) if thawed - STILL_S + 1 < x["time"] < thawed - 0.1]
    survived = f"all writes waited {STILL_S:g} s, then as before"
    return Outcome("storage that stands still", survived, again - thawed, "no row", None, (), quiet)


def _full(arena: Arena, disk: Path, sweep: Sweep) -> Outcome:
    """It ends with the reason; with room again, `--resume` finishes it."""
    ballast = disk / "ballast"
    with ballast.open("wb") as file:
        for size in (2**24, 2**20, 2**12):
            while _taken(file.fileno(), size):
                pass
    started = time.time()
    code, seconds = sweep.ended(), time.time() - started
    told = "No space left" in sweep.said()
    left = arena.left()
    ballast.unlink()
    again = arena.resume(sweep.run)
    after, found = again.ended(), set(checks.statuses(sweep.run).values())
    said = ", saying so" if told else ""
    survived = (
        f"ended with code {code} after {seconds:.0f} s{said}; with room again --resume: {', '.join(sorted(found))}"
    )
    good = told and code != 0 and after == 0 and found == {"done"}
    return Outcome("storage that is full", survived, None, "–", checks.rows_exact(sweep.run), left, good)


def _taken(file: int, size: int) -> bool:
    """Make a file longer by so many bytes, all of them on the disk; False where there is no room."""
    try:
        os.posix_fallocate(file, os.fstat(file).st_size, size)
    except OSError:
        return False
    return True


def _do(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)

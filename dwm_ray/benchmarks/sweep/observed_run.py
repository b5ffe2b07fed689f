"""Run a program of this project in its own process and monitor all processes that it starts.

CPU time between the last sample and the end of a process is missed: a few tenths of a second at two samples per second.
"""

import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from dwm_ray.benchmarks.sweep.run_costs import RunCosts
from dwm_ray.errors import last_line
from dwm_ray.runs.background import in_background
from dwm_ray.runs.folder import RunFailed

SAMPLE_S = 0.5
PROGRAM, WORKER, SAMPLER, TRIAL, RAYLET = "the program", "worker of Ray Train", "sampler", "trial (Tune)", "raylet"
UNUSED, HELPER, SERVICE = "unused worker of Ray", "controller or helper of Ray Train", "service of Ray"
ACTOR = r"ray::([\w-]+:)?"
"""Start of the title of an actor's process: Ray puts the name of a named actor before its class."""
KINDS = {
    r"\S*/raylet\b": RAYLET,
    rf"{ACTOR}RayTrainWorker": WORKER,
    rf"{ACTOR}Sampler": SAMPLER,
    rf"{ACTOR}SyntheticReplayBuffer": "buffer",
    rf"{ACTOR}Leases": "leases",
    rf"{ACTOR}ImplicitFunc": TRIAL,
    r"ray::IDLE|\S*python\S* .*default_worker\.py": UNUSED,
    r"ray::\w*Agent\b": SERVICE,
    r"ray::": HELPER,
}
"""Start of a process title -> kind of process; the first match counts."""
PROVISIONAL = (UNUSED, SERVICE, RAYLET)
"""Kinds that may still change: a worker without a task, a child that still has its parent's title."""


@dataclass
class ProcessUsage:
    """Usage of one process up to its last sample."""

    kind: str
    title: str
    since: float
    """Time of the first sample with this kind, in seconds since 1970."""
    until: float = 0.0
    """Time of the last sample."""
    cpu_s: float = 0.0
    peak_bytes: int = 0
    """Peak resident memory, including memory shared with other processes."""
    shared_bytes: int = 0
    """Peak shared memory: the part of the object store that the process has touched."""

    def rename(self, kind: str, title: str, now: float) -> None:
        """Update a provisional kind. A process that ends loses its title but not its kind."""
        if title and kind != self.kind:
            self.kind, self.title, self.since = kind, title, now


class ProcessMonitor:
    """Samples a process and its descendants; a descendant remains included after its parent has ended."""

    def __init__(self, pid: int) -> None:
        self._root = psutil.Process(pid)
        self._usages: dict[psutil.Process, ProcessUsage] = {}

    @property
    def usages(self) -> list[ProcessUsage]:
        return list(self._usages.values())

    def run(self, stop: threading.Event) -> None:
        """Sample repeatedly."""
        while not stop.wait(SAMPLE_S):
            self.sample()

    def sample(self) -> None:
        """Take one sample of every process."""
        found = {self._root, *self._usages}
        with suppress(psutil.NoSuchProcess):
            found.update(self._root.children(recursive=True))
        for process in found:
            with suppress(psutil.NoSuchProcess):
                if process.is_running():
                    self._record(process, time.time())

    def _record(self, process: psutil.Process, now: float) -> None:
        title, times = _title(process), process.cpu_times()
        kind = PROGRAM if process == self._root else kind_of(title)
        usage = self._usages.setdefault(process, ProcessUsage(kind, title, now))
        if usage.kind in PROVISIONAL:
            usage.rename(kind, title, now)
        usage.until, usage.cpu_s = now, times.user + times.system
        sizes = _memory(process.pid)
        usage.peak_bytes = max(usage.peak_bytes, sizes.get("VmHWM", 0))
        usage.shared_bytes = max(usage.shared_bytes, sizes.get("RssShmem", 0))


def kind_of(title: str) -> str:
    """Return the kind of a process from its title; unknown processes of such a cluster are services."""
    return next((kind for pattern, kind in KINDS.items() if re.match(pattern, title)), SERVICE)


def _title(process: psutil.Process) -> str:
    """Return the command line, or the title that replaced it; empty for a process that has ended."""
    try:
        return " ".join(process.cmdline()).strip()
    except psutil.ZombieProcess:
        return ""


def _memory(pid: int) -> dict[str, int]:
    """Return peak resident memory and shared memory in bytes, which psutil does not offer; empty for a zombie."""
    try:
        text = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    except OSError:
        return {}
    return {name: int(size) * 1024 for name, size in re.findall(r"^(VmHWM|RssShmem):\s+(\d+) kB", text, re.MULTILINE)}


@dataclass(frozen=True)
class ObservedRun:
    """Resource usage of a finished program and the costs recorded in its run folder."""

    wall_s: float
    load: tuple[float, float]
    """One-minute load average of the machine before the start and at the end."""
    processes: list[ProcessUsage]
    costs: RunCosts

    @property
    def cpu_s(self) -> float:
        """CPU seconds of all processes."""
        return sum(process.cpu_s for process in self.processes)

    @property
    def other_cpu_s(self) -> float:
        """CPU seconds that are neither training nor sampling nor evaluation."""
        return self.cpu_s - self.costs.cpu_s

    def of_kind(self, kind: str) -> list[ProcessUsage]:
        return [process for process in self.processes if process.kind == kind]


def observe(program: Path, words: Sequence[str], folder: Path) -> ObservedRun:
    """Run a program that creates one run folder and starts its own cluster. Raise RunFailed if it fails."""
    folder.mkdir(parents=True)
    load, started = os.getloadavg()[0], time.perf_counter()
    processes = _run([sys.executable, str(program), *words, "--output", str(folder)], folder / "output.txt")
    wall_s = time.perf_counter() - started
    [config] = folder.glob("*/config.json")
    return ObservedRun(wall_s, (load, os.getloadavg()[0]), processes, RunCosts.read(config.parent))


def _run(command: list[str], output: Path) -> list[ProcessUsage]:
    with output.open("w", encoding="utf-8") as file, subprocess.Popen(command, stdout=file, stderr=file) as process:
        monitor = ProcessMonitor(process.pid)
        try:
            with in_background("process usage", monitor.run):
                code = process.wait()
        except BaseException:
            process.terminate()
            raise
    if code:
        last = last_line(output.read_text(encoding="utf-8"))
        raise RunFailed(f"{Path(command[1]).name} ended with code {code} ({last})")
    return monitor.usages

"""Run a program in its own process and monitor all processes that it starts.

CPU time between the last sample and the end of a process is missed: a few tenths of a second at two samples per second.
Memory is the largest sample of the resident memory, which includes memory shared with other processes.
"""

import re
import subprocess
import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

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
    rf"{ACTOR}Lock": "lock of a world model",
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
    cpu_s: float = 0.0
    peak_bytes: int = 0


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
        processes = {self._root, *self._usages}
        with suppress(psutil.NoSuchProcess):
            processes.update(self._root.children(recursive=True))
        for process in processes:
            with suppress(psutil.NoSuchProcess):
                if process.is_running():
                    self._record(process)

    def _record(self, process: psutil.Process) -> None:
        title, times = _title(process), process.cpu_times()
        kind = PROGRAM if process == self._root else kind_of(title)
        usage = self._usages.setdefault(process, ProcessUsage(kind))
        if usage.kind in PROVISIONAL and title:  # a process that ends loses its title but not its kind
            usage.kind = kind
        usage.cpu_s = times.user + times.system
        usage.peak_bytes = max(usage.peak_bytes, process.memory_info().rss)


def kind_of(title: str) -> str:
    """Return the kind of a process from its title; unknown processes of such a cluster are services."""
    return next((kind for pattern, kind in KINDS.items() if re.match(pattern, title)), SERVICE)


def _title(process: psutil.Process) -> str:
    """Return the command line, or the title that replaced it; empty for a process that has ended."""
    try:
        return " ".join(process.cmdline()).strip()
    except psutil.ZombieProcess:
        return ""


def observe(command: Sequence[str], output: Path) -> list[ProcessUsage]:
    """Run a command and return the usage of its processes; its output goes to a file. Raise RunFailed if it fails."""
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

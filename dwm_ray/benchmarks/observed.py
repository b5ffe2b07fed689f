"""A program of this project, run to its end in a process of its own, with all that it starts looked at meanwhile."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dwm_ray.benchmarks.process_usage import Census, Process
from dwm_ray.benchmarks.run_costs import Spent, spent
from dwm_ray.runs.folder import RunFailed


@dataclass(frozen=True)
class Observed:
    """What a program has used, and what its run folder says of the parts."""

    wall_s: float
    load: tuple[float, float]
    """The machine's load average (of a minute) before it began, and as it ended."""
    processes: list[Process]
    parts: Spent

    @property
    def cpu_s(self) -> float:
        """Of all processes."""
        return sum(process.cpu_s for process in self.processes)

    @property
    def other_cpu_s(self) -> float:
        """Neither training nor sampling nor evaluation."""
        return self.cpu_s - self.parts.cpu_s

    def of_kind(self, kind: str) -> list[Process]:
        return [process for process in self.processes if process.kind == kind]


def observe(program: Path, words: Sequence[str], folder: Path) -> Observed:
    """Run a program that makes a run folder, on a cluster that it starts itself. RunFailed where it fails."""
    folder.mkdir(parents=True)
    load, started = os.getloadavg()[0], time.perf_counter()
    processes = _run([sys.executable, str(program), *words, "--output", str(folder)], folder / "output.txt")
    wall_s = time.perf_counter() - started
    [config] = folder.glob("*/config.json")
    return Observed(wall_s, (load, os.getloadavg()[0]), processes, spent(config.parent))


def _run(command: list[str], output: Path) -> list[Process]:
    with output.open("w") as file, subprocess.Popen(command, stdout=file, stderr=file) as process:
        census = Census(process.pid)
        try:
            with census.watching():
                code = process.wait()
        except BaseException:
            process.terminate()
            raise
    if code:
        last = (output.read_text().strip().splitlines() or ["no message"])[-1]
        raise RunFailed(f"{Path(command[1]).name} ended with code {code} ({last})")
    return census.processes

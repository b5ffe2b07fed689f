"""Run a program of this project in its own process and monitor all processes that it starts."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dwm_ray.benchmarks.sweep.process_usage import ProcessMonitor, ProcessUsage
from dwm_ray.benchmarks.sweep.run_costs import RunCosts
from dwm_ray.runs.folder import RunFailed


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
    with output.open("w") as file, subprocess.Popen(command, stdout=file, stderr=file) as process:
        monitor = ProcessMonitor(process.pid)
        try:
            with monitor.sampling():
                code = process.wait()
        except BaseException:
            process.terminate()
            raise
    if code:
        last = (output.read_text().strip().splitlines() or ["no message"])[-1]
        raise RunFailed(f"{Path(command[1]).name} ended with code {code} ({last})")
    return monitor.usages

"""Run a real sweep on its own cluster and measure its cost, its CPU time by kind of process, and its memory.

All ratios are ratios of CPU seconds, so that other programs on the machine have little influence. Useful work is the
training, sampling and evaluation that the processes log; everything else is overhead.
"""

from __future__ import annotations

import shlex
import sys
import time
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import ClassVar

from rich.console import Console

from dwm_ray.benchmarks.options import TaskSuite
from dwm_ray.benchmarks.sweep.process_monitor import SAMPLER, WORKER, ProcessUsage, observe
from dwm_ray.benchmarks.tables import expect_own_cluster, machine, number, show
from dwm_ray.blocks.journal import FILE
from dwm_ray.report.table import Cell, Table
from dwm_ray.runs.folder import RunFailed, read_json
from dwm_ray.runs.row_log import read_rows
from dwm_ray.runs.tensor_files import write_json
from dwm_ray.types import Json


@dataclass(frozen=True)
class SweepSuite(TaskSuite):
    """A real sweep: CPU time and memory by kind of process, cost relative to its learners. Starts Ray."""

    name: ClassVar[str] = "sweep"

    sweep_options: str = ""
    """Options of pipelines/sweep.py, as one argument: --sweep-options="--seeds 3". Without them, the sweep is the first
    command of the README."""

    def run(self, programs: Path) -> None:
        """Run the sweep, write JSON and print the tables."""
        expect_own_cluster("the sweep")
        path, start = self.path, time.perf_counter()
        command = [sys.executable, str(programs / "sweep.py"), *self.data_args(), *shlex.split(self.sweep_options)]
        with Console(stderr=True).status("the sweep"), TemporaryDirectory() as folder:
            processes = observe([*command, "--output", folder], Path(folder) / "output.txt")
            [config] = Path(folder).glob("*/config.json")
            costs = run_costs(config.parent)
        measured = {"wall_s": time.perf_counter() - start, "cpu_s": cpu_seconds(costs, processes)}
        measured |= {"ratios": ratios(costs, processes), "processes": list(map(asdict, processes))}
        write_json(path, {"suite": self.name, **measured, "machine": machine(), "sweep_options": self.sweep_options})
        for table in tables(costs, processes):
            show(table)
        print(path)


def tables(costs: Mapping[str, float], processes: list[ProcessUsage]) -> list[Table]:
    total = _total(processes)
    by_purpose = {**cpu_seconds(costs, processes), "training, sampling, evaluation": sum(costs.values()), "all": total}
    cpu: list[list[Cell]] = [[name, number(used), f"{100 * used / total:.1f} %"] for name, used in by_purpose.items()]
    cost: list[list[Cell]] = [[name, f"{value:.2f}"] for name, value in ratios(costs, processes).items()]
    return [
        Table("CPU time", ["purpose", "CPU s", "fraction"], cpu),
        Table("cost", ["ratio", "factor"], cost),
        Table("memory", ["process", "number", "peak, MB"], memory_rows(processes)),
    ]


def cpu_seconds(costs: Mapping[str, float], processes: list[ProcessUsage]) -> dict[str, float]:
    """Return {purpose: CPU seconds}; the sum is the CPU time of all processes."""
    kinds = {kind: _total(usages) for kind, usages in _by_kind(processes).items()}
    workers = kinds.pop(WORKER, 0.0) - costs["world_models"] - costs["updates"] - costs["evaluation"]
    return {
        "learners: updates": costs["updates"],
        "learners: evaluation": costs["evaluation"],
        "world models: training": costs["world_models"],
        "samplers: sampling": costs["sampling"],
        "workers of Ray Train: start, data": workers,
        "samplers: start, data": kinds.pop(SAMPLER, 0.0) - costs["sampling"],
        **dict(sorted(kinds.items(), key=lambda item: -item[1])),
    }


def ratios(costs: Mapping[str, float], processes: list[ProcessUsage]) -> dict[str, float]:
    total, useful, learners = _total(processes), sum(costs.values()), costs["updates"] + costs["evaluation"]
    return {
        "useful work / all processes": useful / total,
        "useful work / learners": useful / learners,
        "all processes / learners": total / learners,
    }


def memory_rows(processes: list[ProcessUsage]) -> list[list[Cell]]:
    """Return the number of processes of each kind and the largest memory of one."""
    return [
        [kind, len(usages), number(max(process.peak_bytes for process in usages) / 1e6)]
        for kind, usages in _by_kind(processes).items()
    ]


def _by_kind(processes: list[ProcessUsage]) -> Mapping[str, list[ProcessUsage]]:
    by_kind = defaultdict(list)
    for process in processes:
        by_kind[process.kind].append(process)
    return by_kind


def _total(processes: list[ProcessUsage]) -> float:
    return sum(process.cpu_s for process in processes)


def run_costs(run: Path) -> dict[str, float]:
    """Return the CPU seconds of useful work by purpose, summed over the parts of a run, from the logs in its folder.

    They count all threads of a process, including those of Ray. The clock of a learner starts when it has its first
    rows; updates include its logs and checkpoints. Raise RunFailed if a trial is not finished.
    """
    learners = [_learner(trial) for trial in sorted(run.glob("trials/*"))]
    models = [_world_model(path.parent) for path in run.glob("world_models/*/metrics.jsonl")]
    blocks = [row for path in run.glob(f"streams/*/{FILE}") for row in read_rows(path)]
    return {
        "updates": sum(updates for updates, _ in learners),
        "evaluation": sum(evaluation for _, evaluation in learners),
        "world_models": sum(models),
        "sampling": sum(row.get("cpu_s", 0.0) for row in blocks),
    }


def _world_model(folder: Path) -> float:
    """Return the CPU seconds of a model's updates and of its correction."""
    status = read_json(folder / "status.json") or {}
    return float(read_rows(folder / "metrics.jsonl")[-1]["cpu_s"]) + float(status.get("correction_cpu_s", 0.0))


def _learner(trial: Path) -> tuple[float, float]:
    rows, evaluations = read_rows(trial / "metrics.jsonl"), read_rows(trial / "evaluations.jsonl")
    if not evaluations or not evaluations[-1]["final"]:
        raise RunFailed(f"{trial}: the trial is not finished; expected a final evaluation")
    return split_cpu(rows, evaluations)


def split_cpu(rows: list[Json], evaluations: list[Json]) -> tuple[float, float]:
    """Return the CPU seconds of a trial's updates and of its evaluations.

    The clock of a member counts its fraction of the population. Each member is evaluated separately.
    """
    before, num_members = {row["update"]: row["cpu_s"] for row in rows}, rows[-1].get("num_members", 1)
    evaluating = num_members * sum(row["cpu_s"] - before[row["update"]] for row in evaluations)
    return evaluations[-1]["cpu_s"] - evaluating, evaluating

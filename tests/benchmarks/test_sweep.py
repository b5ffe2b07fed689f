"""Processes, costs and tables of the benchmark of a sweep."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest
from local_runs import train
from tiny_task import recording, tiny_config

from dwm_ray.benchmarks.sweep.process_monitor import (
    HELPER,
    PROGRAM,
    RAYLET,
    SAMPLER,
    SERVICE,
    TRIAL,
    UNUSED,
    WORKER,
    ProcessMonitor,
    ProcessUsage,
    kind_of,
    observe,
)
from dwm_ray.benchmarks.sweep.suite import cpu_seconds, ratios, run_costs, split_cpu, tables
from dwm_ray.blocks.journal import FILE
from dwm_ray.experiment.search_space import Trial
from dwm_ray.runs.folder import RunFailed, RunFolder, read_json
from dwm_ray.runs.row_log import read_rows

COSTS = {"updates": 24.0, "evaluation": 2.0, "world_models": 20.0, "sampling": 4.0}
PROCESSES = [
    ProcessUsage(WORKER, 55.0, 600_000_000),
    ProcessUsage(SAMPLER, 7.0, 700_000_000),
    ProcessUsage(TRIAL, 4.0, 300_000_000),
    ProcessUsage(TRIAL, 4.0, 400_000_000),
    ProcessUsage(PROGRAM, 10.0, 500_000_000),
]


def test_cpu_seconds_add_up_to_all_processes() -> None:
    result = cpu_seconds(COSTS, PROCESSES)
    assert sum(result.values()) == 80.0
    assert result["workers of Ray Train: start, data"] == 9.0
    assert result["samplers: start, data"] == 3.0
    assert result[TRIAL] == 8.0


def test_ratios_and_rows() -> None:
    assert list(ratios(COSTS, PROCESSES).values()) == pytest.approx([50 / 80, 50 / 26, 80 / 26])
    cpu, _, memory = shown = tables(COSTS, PROCESSES)
    assert cpu.rows[-2:] == [["training, sampling, evaluation", "50", "62.5 %"], ["all", "80", "100.0 %"]]
    assert [TRIAL, 2, "400"] in memory.rows
    assert all(len(row) == len(table.headers) for table in shown for row in table.rows)


def test_a_program_is_run_and_its_failure_is_an_error(tmp_path: Path) -> None:
    code = "import sys; print('said'); sys.exit(sys.argv[1] == 'fail')"
    (tmp_path / "program.py").write_text(code)
    command = [sys.executable, str(tmp_path / "program.py")]
    observe([*command, "well"], tmp_path / "output.txt")
    with pytest.raises(RunFailed, match=r"program.py ended with code 1 \(said\)"):
        observe([*command, "fail"], tmp_path / "output.txt")


BUSY = "[None for _ in iter(lambda: time.process_time() < 0.05, False)]"  # several of the kernel's clock ticks
CHILD = f"import time; {BUSY}; print('ready', flush=True); time.sleep(60)"
PARENT = f'import subprocess, sys, time; {BUSY}; subprocess.run([sys.executable, "-c", "{CHILD}"])'


@pytest.mark.parametrize(
    ("title", "kind"),
    [
        ("ray::RayTrainWorker.execute", WORKER),
        ("ray::sampler-0:Sampler.draw", SAMPLER),
        ("ray::Sampler", SAMPLER),
        ("ray::ImplicitFunc.train", TRIAL),
        ("ray::IDLE", UNUSED),
        ("/usr/bin/python -u /site-packages/ray/_private/workers/default_worker.py --node-ip=1", UNUSED),
        ("/lib/python3.11/ray/core/src/ray/raylet/raylet --python_worker_command=python default_worker.py", RAYLET),
        ("ray::DashboardAgent", SERVICE),
        ("ray::TrainController.run", HELPER),
        ("ray::_QueueActor.get", HELPER),
        ("/site-packages/ray/core/src/ray/gcs/gcs_server --x", SERVICE),
        ("ray-dashboard-JobHead-0 (python)", SERVICE),
    ],
)
def test_processes_are_classified_by_their_titles(title: str, kind: str) -> None:
    assert kind_of(title) == kind


def test_descendants_are_monitored_also_without_their_parent() -> None:
    with subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE) as program:
        assert program.stdout is not None
        assert program.stdout.readline() == b"ready\n"
        [child] = psutil.Process(program.pid).children()
        monitor = ProcessMonitor(program.pid)
        try:
            monitor.sample()
            assert [usage.kind for usage in monitor.usages].count(PROGRAM) == 1
            assert len(monitor.usages) == 2
            assert all(usage.peak_bytes > 1e6 and usage.cpu_s > 0 for usage in monitor.usages)
            program.kill()
            program.wait()
            monitor.sample()
            assert len(monitor.usages) == 2
        finally:
            child.kill()


ROWS = [
    {"update": 10, "cpu_s": 2.0, "seconds": 3.0, "updates_per_s": 5.0},
    {"update": 20, "cpu_s": 6.0, "seconds": 8.0, "updates_per_s": 10.0},
]
EVALUATIONS = [
    {"update": 10, "cpu_s": 3.0, "seconds": 5.0, "final": False},
    {"update": 20, "cpu_s": 8.0, "seconds": 10.0, "final": True},
]


def test_updates_and_evaluations_are_separated() -> None:
    assert split_cpu(ROWS, EVALUATIONS) == (5.0, 3.0)
    assert split_cpu([{**row, "num_members": 2} for row in ROWS], EVALUATIONS) == (2.0, 6.0)


def write(path: Path, *values: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(value) + "\n" for value in values))


@pytest.fixture
def finished(tmp_path: Path) -> RunFolder:
    """A run in one process."""
    config, folder = tiny_config(recording(tmp_path / "data.hdf5")), RunFolder(tmp_path / "run")
    write(folder.trial(Trial(config, {}).id) / "config.json", config.model_dump(mode="json"))
    train(config, folder)
    return folder


def test_a_finished_run_has_the_costs_of_its_parts(finished: RunFolder) -> None:
    result = run_costs(finished.root)
    assert min(result["updates"], result["evaluation"], result["world_models"]) > 0
    [model] = finished.root.glob("world_models/*")
    parts = read_rows(model / "metrics.jsonl")[-1]["cpu_s"], read_json(model / "status.json")["correction_cpu_s"]
    assert result["world_models"] == pytest.approx(sum(parts))
    [journal] = finished.root.glob(f"streams/*/{FILE}")
    assert result["sampling"] == pytest.approx(sum(row.get("cpu_s", 0) for row in read_rows(journal)))


def test_an_unfinished_trial_is_an_error(finished: RunFolder) -> None:
    [log] = finished.root.glob("trials/*/evaluations.jsonl")
    write(log, {"update": 20, "final": False})
    with pytest.raises(RunFailed, match="the trial is not finished"):
        run_costs(finished.root)

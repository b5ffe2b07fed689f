"""Processes below a program are found, classified and monitored to their end."""

from __future__ import annotations

import subprocess
import sys

import psutil
import pytest

from dwm_ray.benchmarks.sweep.process_usage import (
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
)

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


def test_a_provisional_kind_changes_and_remains_when_the_process_ends() -> None:
    usage = ProcessUsage(UNUSED, "ray::IDLE", 1.0)
    usage.rename(TRIAL, "ray::ImplicitFunc", 2.0)
    usage.rename(SERVICE, "", 3.0)
    assert (usage.kind, usage.title, usage.since) == (TRIAL, "ray::ImplicitFunc", 2.0)


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
            [last] = [usage.until for usage in monitor.usages if usage.kind == SERVICE]
            monitor.sample()
            assert [usage.until > last for usage in monitor.usages if usage.kind == SERVICE] == [True]
        finally:
            child.kill()

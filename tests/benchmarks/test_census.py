"""Processes below a program are found, named and followed to their end."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest

from dwm_ray.benchmarks.process_usage import (
    HELPER,
    PROGRAM,
    RAYLET,
    SAMPLER,
    SERVICE,
    TRIAL,
    UNUSED,
    WORKER,
    Census,
    kind_of,
)
from dwm_ray.benchmarks.process_usage import _renamed as renamed

NESTED = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'import time; time.sleep({})', 'below'])"


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
def test_processes_are_known_by_their_titles(title: str, kind: str) -> None:
    assert kind_of(title) == kind


def test_a_process_becomes_what_it_works_as_and_stays_it_at_its_end() -> None:
    first = renamed(None, UNUSED, "ray::IDLE", 1.0)
    second = renamed(first, TRIAL, "ray::ImplicitFunc", 2.0)
    assert (second.kind, second.since) == (TRIAL, 2.0)
    assert renamed(first, SERVICE, "", 3.0).kind == TRIAL


def test_all_below_a_program_are_seen() -> None:
    with subprocess.Popen([sys.executable, "-c", NESTED.format(60)]) as program:
        census, deadline = Census(program.pid), time.monotonic() + 60
        while len(census.processes) < 2 and time.monotonic() < deadline:
            census.look()
        program.terminate()
        for process in census.processes:
            assert process.peak_bytes > 1e6
            assert process.until >= process.since
        assert {process.kind for process in census.processes} == {PROGRAM, SERVICE}
    census.look()  # the one below has lost its parent
    assert len(census.processes) == 2
    for pid, _ in census._seen:
        if pid != program.pid:
            subprocess.run(["kill", str(pid)], check=True)

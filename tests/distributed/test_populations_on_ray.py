"""Populations on Ray: one worker for many trials leaves what one process without Ray leaves, and survives."""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path
from typing import Any

import psutil
import pytest
from test_sweep_pipeline import OPTIONS, finish, read, start, states, wait_until
from tiny_task import NUM_SEGMENTS

from dwm_ray.runs.row_log import read_rows
from dwm_ray.training.checkpoints import resume_folder

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]  # the machine may be busy

TRIALS = ["--agents", "td3_bc", "--no-baselines", "--population", 8]
ONE_AT_A_TIME = ["--cluster.learner-cpus", 2.5]
"""Room for one process, so that both horizons are one population."""


def sweep(folder: Path, file: Path, cluster: str, *more: object) -> subprocess.Popen[str]:
    data = ["--task", "pendulum", "--data", file, "--output", folder / "runs"]
    return start(folder, *OPTIONS.split(), *data, *TRIALS, *ONE_AT_A_TIME, *more, address=cluster)


def logs(run: Path) -> list[list[dict[str, Any]]]:
    return [read_rows(path) for path in sorted(run.glob("trials/*/metrics.jsonl"))]


def learner() -> psutil.Process:
    """The one Ray Train worker below this process that learns."""
    below = psutil.Process().children(recursive=True)
    [found] = [process for process in below if "RayTrainWorker" in " ".join(process.cmdline())]
    return found


def test_a_population_learns_what_it_would_without_ray(file: Path, cluster: str, tmp_path: Path) -> None:
    for name in ("ray", "here"):
        (tmp_path / name).mkdir()
    whole = ["--cluster.num-samplers", 1, "--replay.min-synthetic", NUM_SEGMENTS]  # learning begins on equal rings
    on_ray = finish(sweep(tmp_path / "ray", file, cluster, *whole))
    here = finish(sweep(tmp_path / "here", file, cluster, *whole, "--in-process"))
    assert [log[-1]["num_members"] for log in logs(on_ray)] == [2] * 2
    assert read(on_ray / "results.json")["counters"]["segments_consumed"] == NUM_SEGMENTS, "one pass for all members"
    assert sorted(states(on_ray)) == sorted(states(here))
    for own, theirs in zip(logs(on_ray), logs(here), strict=True):
        losses = [row["critic_loss"] for row in theirs]  # of world models that are equal up to rounding
        assert [row["critic_loss"] for row in own] == pytest.approx(losses, rel=1e-2)
        assert {row["synthetic_rows"] for row in own} == {NUM_SEGMENTS}
    assert not any(resume_folder(on_ray / "trials" / trial).exists() for trial in states(on_ray))


def test_a_worker_and_a_sweep_that_are_killed_go_on_from_the_members_states(
    file: Path, cluster: str, tmp_path: Path
) -> None:
    process = sweep(tmp_path, file, cluster, "--training.num-updates", 2000)
    runs = tmp_path / "runs"

    def past(update: int) -> bool:
        rows = [log for run in runs.glob("*") for log in logs(run)]
        return len(rows) == 2 and all(log and log[-1]["update"] > update for log in rows)

    wait_until(lambda: past(200), process)
    learner().send_signal(signal.SIGKILL)
    reached = [log[-1]["update"] for run in runs.glob("*") for log in logs(run)]
    wait_until(lambda: past(max(reached) + 200), process)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    [run] = runs.iterdir()
    kept = [read(path)["update"] for path in run.glob("trials/*/resume/trainer.json")]
    assert min(kept) > 400
    assert finish(start(tmp_path, "--resume", run, "--population", 1, address=cluster)) == run, "and each alone"
    assert set(states(run).values()) == {"done"}
    for log in logs(run):
        assert [row["update"] for row in log] == list(range(100, 2001, 100)), "every update once"
        seconds = [row["seconds"] for row in log]
        assert seconds == sorted(seconds)
        assert log[3].get("num_members") == 2
        assert "num_members" not in log[-1]
    assert not list(run.glob("trials/*/resume"))

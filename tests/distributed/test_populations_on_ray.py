"""Populations on Ray: one worker for many trials leaves what one process without Ray leaves, and survives."""

import signal
import subprocess
from pathlib import Path
from typing import Any

import psutil
import pytest
from test_sweep_pipeline import OPTIONS, finish, read, start, states, wait_until
from tiny_task import NUM_SEGMENTS

from dwm_ray.runs.row_log import read_rows
from dwm_ray.training.checkpoints import resume_folder, saved_update

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
    [result] = [process for process in below if "RayTrainWorker" in " ".join(process.cmdline())]
    return result


def test_a_population_learns_what_it_would_without_ray(file: Path, cluster: str, tmp_path: Path) -> None:
    for name in ("ray", "here"):
        (tmp_path / name).mkdir()
    whole = ["--cluster.num-samplers", 1, "--replay.min-synthetic", NUM_SEGMENTS]  # learning begins on equal rings
    whole.append("--world-model.no-correct-returns")  # a bias that is learned from 600 pairs amplifies rounding
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


class Progress:
    """Progress of the two trials of a running sweep."""

    def __init__(self, folder: Path, process: subprocess.Popen[str]) -> None:
        self._runs, self._process = folder / "runs", process

    def wait_for(self, update: int) -> None:
        """Wait until both trials have logged an update beyond `update`."""
        wait_until(lambda: len(self.reached()) == 2 and min(self.reached()) > update, self._process)

    def reached(self) -> list[int]:
        return [log[-1]["update"] for run in self._runs.glob("*") for log in logs(run) if log]

    def kill_learner(self) -> None:
        """Kill the learner when the checkpoints of both trials have the same update; they then remain a population."""
        process = learner()

        def stopped_at_one_update() -> bool:
            process.suspend()
            updates = self._saved_updates()
            if len(updates) == 1 and updates != {0}:
                return True
            process.resume()
            return False

        wait_until(stopped_at_one_update, self._process)
        process.kill()

    def _saved_updates(self) -> set[int]:
        return {saved_update(trial) for trial in self._runs.glob("*/trials/*")}

    def kill(self) -> Path:
        """Kill the program; return the run folder, whose trials have checkpoints."""
        self._process.send_signal(signal.SIGKILL)
        self._process.communicate()
        [run] = self._runs.iterdir()
        assert len(list(run.glob("trials/*/resume/trainer.json"))) == 2
        return run


def assert_finished(run: Path, num_updates: int, num_members: tuple[int, int]) -> None:
    """Check that every update was logged once; `num_members` before and after the resume."""
    assert set(states(run).values()) == {"done"}
    for log in logs(run):
        assert [row["update"] for row in log] == list(range(100, num_updates + 1, 100))
        seconds = [row["seconds"] for row in log]
        assert seconds == sorted(seconds)
        assert (log[0]["num_members"], log[-1]["num_members"]) == num_members
    assert not list(run.glob("trials/*/resume"))


def test_a_killed_population_on_ray_resumes_alone_and_without_ray(file: Path, cluster: str, tmp_path: Path) -> None:
    process = sweep(tmp_path, file, cluster, "--training.num-updates", 5000)
    progress = Progress(tmp_path, process)
    progress.wait_for(200)
    progress.kill_learner()  # Ray Train restarts the worker
    progress.wait_for(max(progress.reached()) + 200)
    run = progress.kill()
    assert min(read(path)["update"] for path in run.glob("trials/*/resume/trainer.json")) > 400
    assert finish(start(tmp_path, "--resume", run, "--population", 1, "--in-process")) == run
    assert_finished(run, 5000, (2, 1))


def test_killed_trials_without_ray_resume_on_ray_as_a_population(file: Path, cluster: str, tmp_path: Path) -> None:
    process = sweep(tmp_path, file, cluster, "--training.num-updates", 3000, "--in-process", "--population", 2)
    progress = Progress(tmp_path, process)
    progress.wait_for(300)
    run = progress.kill()
    updates = {saved_update(trial) for trial in run.glob("trials/*")}
    assert finish(start(tmp_path, "--resume", run, address=cluster)) == run
    assert_finished(run, 3000, (2, 2 if len(updates) == 1 else 1))  # the kill may fall between two members' checkpoints

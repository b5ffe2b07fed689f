"""A user's environment that fails: exit code 1 and one line, nothing written before training, nothing lost after it."""

from pathlib import Path

import h5py
import numpy as np
import odd_robots
import pytest

from dwm_ray.runs.folder import RunFolder, read_json
from dwm_ray.runs.row_log import read_rows
from pipelines.train import main

OPTIONS = {
    "profile": "laptop",
    "task": "robot",
    "world-model": "none",
    "agent": "bc",
    "training.num-updates": 40,
    "training.batch-size": 16,
    "training.log-every": 20,
    "training.checkpoint-every": 20,
    "evaluation.every": 20,
    "evaluation.num-episodes": 2,
    "evaluation.curve-episodes": 1,
    "data": "robot.hdf5",
}


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Options of a run on 20 episodes of a robot whose actions are all at the upper bound."""
    monkeypatch.chdir(tmp_path)
    with h5py.File(tmp_path / "robot.hdf5", "w") as file:
        file["observations"] = np.cumsum(np.full((400, 2), 0.01, np.float32), axis=0)
        file["actions"] = np.full((400, 1), 0.1, np.float32)
        file["rewards"] = -np.ones(400, np.float32)
        file["terminals"], file["timeouts"] = np.zeros(400, bool), np.arange(400) % 20 == 19
    return ["--in-process", *(word for name, value in OPTIONS.items() for word in (f"--{name}", str(value)))]


@pytest.mark.parametrize("name", ["OldInterface", "NoDisplay", "FixedActuator", "NanReward", "Crashes"])
def test_it_is_found_before_training(name: str, command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*command, "--env", f"{odd_robots.__name__}:{name}-v0"]) == 1
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    assert lines[0].startswith(f"failed: environment 'odd_robots:{name}-v0': ")
    assert not Path("runs").exists()


def test_a_failure_in_training_costs_no_update(
    command: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(odd_robots.CrashesLater, "patience", 45)  # 20 for the trial, 20 for the first evaluation
    assert main([*command, "--env", "odd_robots:CrashesLater-v0"]) == 1
    line = capsys.readouterr().err.strip().splitlines()[-1]
    [run] = map(RunFolder, Path("runs").iterdir())
    assert "step 3 failed: RuntimeError: simulator became unstable; resume with: " in line
    [trial] = run.trials()
    status = read_json(trial / "status.json")
    assert (status["status"], "simulator became unstable" in status["error"]) == ("failed", True)
    monkeypatch.setattr(odd_robots.CrashesLater, "patience", 10**9)
    assert main(["--in-process", "--resume", str(run.root)]) == 0
    assert [row["update"] for row in read_rows(trial / "evaluations.jsonl")] == [20, 40]
    assert len(read_rows(trial / "metrics.jsonl")) == 2

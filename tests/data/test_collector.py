"""Recordings of a pendulum whose episodes end after 20 steps."""

import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import gymnasium
import h5py
import numpy as np
import pytest
import torch
from optional_packages import needs_robotics, needs_stable_baselines
from programs import load_program

from dwm_ray.data import d4rl, minari, parquet
from dwm_ray.data.recording.collector import Collector, OnProgress, RecordingOptions
from dwm_ray.data.recording.recorder import Recorder
from dwm_ray.data.recording.sac import SacRun
from dwm_ray.data.recording.waypoints import steps_to
from dwm_ray.runs.tensor_files import unprefixed
from dwm_ray.tasks.environments import spaces_of
from dwm_ray.types import Episodes

ENV = "ShortPendulum-v0"
gymnasium.register(ENV, "gymnasium.envs.classic_control:PendulumEnv", max_episode_steps=20)
OPTIONS = RecordingOptions(ENV, "random", 70, seed=1, train_steps=130, checkpoint_every=1)


@pytest.fixture
def collect(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.chdir(tmp_path)
    return load_program("pipelines/collect.py")


def record(folder: Path, on_progress: OnProgress = lambda *progress: None, **options: Any) -> Episodes:
    return Collector(replace(OPTIONS, **options), folder, on_progress).run()


def stop_at(stage: str, rows: int) -> OnProgress:
    def on_progress(now: str, done: int, total: int) -> None:
        if (now, done) == (stage, rows):
            raise KeyboardInterrupt

    return on_progress


def test_random_recipe_repeats_with_its_seed(tmp_path: Path) -> None:
    data = record(tmp_path / "a")
    assert np.diff(data.offsets).tolist() == [20, 20, 20, 10]
    assert data.known_next.all()
    np.testing.assert_array_equal(data.next_obs[:19], data.obs[1:20])
    assert np.abs(data.next_obs[19] - data.obs[20]).max() > 1e-3  # the state reached, not the next reset
    assert data.act.std() == pytest.approx(4 / np.sqrt(12), rel=0.25)
    assert record(tmp_path / "b").card.fingerprint == data.card.fingerprint
    assert record(tmp_path / "c", seed=2).card.fingerprint != data.card.fingerprint


def test_recording_resumes_after_an_interruption(tmp_path: Path) -> None:
    whole, cut = record(tmp_path / "whole"), tmp_path / "cut"
    with pytest.raises(KeyboardInterrupt):
        record(cut, stop_at("recording", 50))
    resumed = record(cut)
    assert resumed.offsets.tolist() == whole.offsets.tolist()
    np.testing.assert_array_equal(resumed.obs[:40], whole.obs[:40])
    assert np.abs(resumed.obs[40:60] - resumed.obs[:20]).max() > 1e-3
    with pytest.raises(ValueError, match="holds another recording"):
        record(cut, seed=5)
    with pytest.raises(ValueError, match="60 transitions are recorded already, more than the 30"):
        record(cut, steps=30)


@needs_stable_baselines
def test_replay_of_sac_resumes_after_an_interruption(tmp_path: Path) -> None:
    options: dict[str, Any] = {"recipe": "medium-replay", "steps": 150}
    with pytest.raises(KeyboardInterrupt):
        record(tmp_path, stop_at("training SAC", 130), **options)
    first = Recorder(spaces_of(ENV), 150)
    saved = Collector(replace(OPTIONS, **options), tmp_path, lambda *progress: None)._resume("sac", first)
    assert saved is not None
    run, tensors = SacRun(ENV, 0, first), unprefixed("sac", saved)
    run.load(tensors)
    again = run.tensors()
    assert again.keys() == tensors.keys()
    assert all(torch.equal(again[key], tensors[key]) for key in again)
    assert any(key.startswith("critic_optimizer.0.exp_avg") for key in again)
    assert run._model.replay_buffer.sample(64).actions.abs().max() <= 1
    data = record(tmp_path, **options)
    assert data.num_transitions == 150
    np.testing.assert_array_equal(data.obs[:120], first.arrays()["observations"][:120])
    assert np.diff(data.offsets).tolist() == [20] * 7 + [10]


@needs_stable_baselines
def test_medium_stops_at_its_score_or_reports_that_it_was_not_reached(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="--stop-score: needed for recipe medium"):
        record(tmp_path, recipe="medium")
    with pytest.raises(ValueError, match="--stop-score: recipe random"):
        record(tmp_path, stop_score=1.0)
    with pytest.raises(ValueError, match=r"--train-steps 30: SAC reached -\d+.\d, below 1.0"):
        record(tmp_path, recipe="medium", train_steps=30, stop_score=1.0)
    easy = Collector(replace(OPTIONS, recipe="medium", stop_score=-1e6), tmp_path, lambda *progress: None)
    assert easy.run().num_transitions == 70
    assert easy.trained_steps == 30  # the steps of the earlier attempt were enough


def test_command_writes_every_format(collect: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    common = ["--env", ENV, "--recipe", "random", "--steps", "45"]
    assert collect.main([*common, "--out", "a.hdf5"]) == 0
    assert "45 transitions in 3 episodes" in capsys.readouterr().out
    assert collect.main([*common, "--out", "a.parquet", "--format", "parquet"]) == 0
    assert collect.main([*common, "--out", "mine/a-v0", "--format", "minari"]) == 0
    read = [d4rl.read(Path("a.hdf5"), "", "", None), parquet.read(Path("a.parquet"), "", "", None)]
    read.append(minari.read("mine/a-v0", download=False))
    assert len({data.card.fingerprint for data in read}) == 1
    with h5py.File("a.hdf5") as file:
        assert (file.attrs["recipe"], file.attrs["seed"], file.attrs["agent"]) == ("random", 0, "uniform actions")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.hdf5", "a.parquet", "datasets"]


def test_command_prints_progress_without_a_terminal(
    collect: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(collect, "LINE_S", 0.0)
    assert collect.main(["--env", ENV, "--recipe", "random", "--steps", "60", "--out", "a.hdf5"]) == 0
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "recording: 2 %, 1 of 60 steps, remaining time unknown"
    assert lines[-1].startswith("recording: 100 %, 60 of 60 steps")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--out", "taken.hdf5"], "--out taken.hdf5: exists already"),
        (["--out", "a.h5"], "--out a.h5: unknown suffix '.h5'; expected .hdf5"),
        (["--out", "a.hdf5", "--steps", "0"], "--steps: is 0; expected at least 1"),
        (["--out", "a.hdf5", "--env", "CartPole-v1"], "expected a vector of real numbers"),
        (["--out", "no version", "--format", "minari"], "not a dataset id"),
    ],
)
def test_command_refuses_bad_options_before_it_starts(
    collect: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str], flags: list[str], message: str
) -> None:
    Path("taken.hdf5").touch()
    assert collect.main(["--env", ENV, "--recipe", "random", *flags]) == 2
    assert message in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["datasets", "taken.hdf5"]


def test_missing_stable_baselines_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "stable_baselines3", None)
    with pytest.raises(ValueError, match=r"pip install 'dwm-ray\[collect\]'"):
        record(tmp_path, recipe="expert")


def record_way(env_id: str, steps: int, folder: Path) -> Episodes:
    return Collector(RecordingOptions(env_id, "waypoints", steps), folder, lambda *progress: None).run()


def test_steps_by_hand() -> None:
    """From the goal in the upper left corner, around the wall, to the lower left corner."""
    walls = [[1] * 7, [1, "g", 0, 0, 0, 1, 1], [1, 1, 1, 1, 0, 0, 1], [1, 0, 0, 0, 0, 0, 1], [1] * 7]
    steps = steps_to((1, 1), walls)
    assert [steps[1, column] for column in (1, 2, 3, 4)] == [0, 1, 2, 3]
    assert (steps[2, 4], steps[2, 5], steps[3, 4], steps[3, 5], steps[3, 1]) == (4, 5, 5, 6, 8)
    assert (1, 5) not in steps
    assert steps_to((0, 0), [[0, 1], [1, 0]]) == {(0, 0): 0}


@needs_robotics
def test_every_episode_reaches_its_goal_and_stays(tmp_path: Path) -> None:
    data = record_way("PointMaze_UMaze-v3", 900, tmp_path / "a")
    assert (data.obs.shape, data.num_episodes, data.truncated.sum()) == ((900, 6), 3, 3)
    assert set(np.unique(data.rew)) == {0.0, 1.0}
    assert data.returns().min() > 50
    at_goal = np.linalg.norm(data.next_obs[:, :2] - data.next_obs[:, 4:], axis=1) <= 0.45
    np.testing.assert_array_equal(data.rew == 1, at_goal)
    assert record_way("PointMaze_UMaze-v3", 900, tmp_path / "b").card.fingerprint == data.card.fingerprint


def test_other_environments_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="--recipe waypoints: cannot control Pendulum-v1; expected a PointMaze"):
        record_way("Pendulum-v1", 20, tmp_path / "a")
    assert not (tmp_path / "a").exists()

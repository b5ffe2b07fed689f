"""Recordings of a pendulum whose episodes end after 20 steps."""

import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import gymnasium
import h5py
import numpy as np
import pytest
import torch
from programs import load_program

from dwm_ray.data import d4rl, minari, parquet
from dwm_ray.data.collection import Collection, Plan, Report
from dwm_ray.data.recorder import Recorder
from dwm_ray.tasks.spaces import spaces_of

ENV = "ShortPendulum-v0"
gymnasium.register(ENV, "gymnasium.envs.classic_control:PendulumEnv", max_episode_steps=20)
PLAN = Plan(ENV, "random", 70, seed=1, train_steps=130, stop_score=None, checkpoint_every=1)


@pytest.fixture(scope="module")
def collect() -> ModuleType:
    return load_program("pipelines/collect.py")


def silent(stage: str, done: int, total: int) -> None:
    pass


def stop_at(stage: str, rows: int) -> Report:
    def report(now: str, done: int, total: int) -> None:
        if (now, done) == (stage, rows):
            raise KeyboardInterrupt

    return report


def test_random_recipe_repeats_with_its_seed(tmp_path: Path) -> None:
    data = Collection(PLAN, tmp_path / "a", silent).run()
    assert np.diff(data.offsets).tolist() == [20, 20, 20, 10]
    assert data.known_next.all()
    np.testing.assert_array_equal(data.next_obs[:19], data.obs[1:20])
    assert np.abs(data.next_obs[19] - data.obs[20]).max() > 1e-3  # the state reached, not the next reset
    assert data.act.std() == pytest.approx(4 / np.sqrt(12), rel=0.25)
    assert Collection(PLAN, tmp_path / "b", silent).run().card.fingerprint == data.card.fingerprint
    other = Collection(replace(PLAN, seed=2), tmp_path / "c", silent).run()
    assert other.card.fingerprint != data.card.fingerprint


def test_recording_goes_on_after_an_interruption(tmp_path: Path) -> None:
    whole = Collection(PLAN, tmp_path / "whole", silent).run()
    with pytest.raises(KeyboardInterrupt):
        Collection(PLAN, tmp_path / "cut", stop_at("recording", 50)).run()
    resumed = Collection(PLAN, tmp_path / "cut", silent).run()
    assert resumed.offsets.tolist() == whole.offsets.tolist()
    np.testing.assert_array_equal(resumed.obs[:40], whole.obs[:40])
    assert np.abs(resumed.obs[40:60] - resumed.obs[:20]).max() > 1e-3
    with pytest.raises(ValueError, match="holds another recording"):
        Collection(replace(PLAN, seed=5), tmp_path / "cut", silent).run()
    with pytest.raises(ValueError, match="60 transitions are recorded already, more than the 30"):
        Collection(replace(PLAN, num_steps=30), tmp_path / "cut", silent).run()


def test_replay_of_sac_goes_on_after_an_interruption(tmp_path: Path) -> None:
    sac = pytest.importorskip("dwm_ray.data.sac")
    pytest.importorskip("stable_baselines3")
    plan = replace(PLAN, recipe="medium-replay", num_steps=150)
    with pytest.raises(KeyboardInterrupt):
        Collection(plan, tmp_path, stop_at("training SAC", 130)).run()
    first = Recorder(spaces_of(ENV), 150)
    saved = Collection(plan, tmp_path, silent)._resume("sac", first)
    assert saved is not None
    run = sac.SacRun(ENV, 0, first)
    tensors = {key.removeprefix("sac."): value for key, value in saved.items() if key.startswith("sac.")}
    run.load(tensors)
    again = run.tensors()
    assert again.keys() == tensors.keys()
    assert all(torch.equal(again[key], tensors[key]) for key in again)
    assert any(key.startswith("critic_optimizer.0.exp_avg") for key in again)
    batch = run._model.replay_buffer.sample(64)
    assert batch.actions.abs().max() <= 1
    data = Collection(plan, tmp_path, silent).run()
    assert data.num_transitions == 150
    np.testing.assert_array_equal(data.obs[:120], first.arrays()["observations"][:120])
    assert np.diff(data.offsets).tolist() == [20] * 7 + [10]


def test_medium_stops_at_its_score_and_says_when_it_cannot(tmp_path: Path) -> None:
    pytest.importorskip("stable_baselines3")
    with pytest.raises(ValueError, match="--stop-score: needed for recipe medium"):
        Collection(replace(PLAN, recipe="medium"), tmp_path, silent)
    with pytest.raises(ValueError, match="--stop-score: recipe random"):
        Collection(replace(PLAN, stop_score=1.0), tmp_path, silent)
    hopeless = Collection(replace(PLAN, recipe="medium", train_steps=30, stop_score=1.0), tmp_path / "a", silent)
    with pytest.raises(ValueError, match=r"--train-steps 30: SAC reached -\d+.\d, below 1.0"):
        hopeless.run()
    easy = Collection(replace(PLAN, recipe="medium", stop_score=-1e6), tmp_path / "a", silent)
    assert easy.run().num_transitions == 70
    assert easy.trained_steps == 30  # the earlier try's steps were enough


def test_command_writes_every_format(
    collect: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "sets"))
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
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.hdf5", "a.parquet", "sets"]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--out", "taken.hdf5"], "--out taken.hdf5: exists already"),
        (["--out", "a.h5"], "a file of --format hdf5 must end in .hdf5"),
        (["--out", "a.hdf5", "--steps", "0"], "--steps 0: must be at least 1"),
        (["--out", "a.hdf5", "--env", "CartPole-v1"], "actions must be a vector of real numbers"),
        (["--out", "no version", "--format", "minari"], "not an id such as"),
    ],
)
def test_command_refuses_before_it_starts(
    collect: ModuleType,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    flags: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("taken.hdf5").touch()
    assert collect.main(["--env", ENV, "--recipe", "random", *flags]) == 2
    assert message in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["taken.hdf5"]


def test_missing_stable_baselines_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "stable_baselines3", None)
    with pytest.raises(ValueError, match=r"pip install 'dwm-ray\[collect\]'"):
        Collection(replace(PLAN, recipe="expert"), tmp_path, silent).run()

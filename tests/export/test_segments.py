"""Generated data as episodes: what segments become, and files that are read back."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import minari
import numpy as np
import pytest
import torch
from programs import load_program
from tiny_task import DWM, ONE_STEP, tiny_config

import dwm_ray
from dwm_ray.data.content import ARRAYS
from dwm_ray.data.load import load_dataset
from dwm_ray.export.segments import GeneratedData, as_episodes, select_segments
from dwm_ray.filters.hardmax import Hardmax
from dwm_ray.replay.selection import Selection
from dwm_ray.tasks.table import task_for
from dwm_ray.types import Segments

program = load_program("pipelines/export.py")
main = program.main


def numbered(num: int, horizon: int, num_actions: int) -> Segments:
    """Segment i visits the states 10 i, 10 i + 1, ...; later segments have higher rewards."""
    states = (10.0 * torch.arange(num)).view(-1, 1, 1) + torch.arange(horizon + 1).view(1, -1, 1)
    rew, ones = torch.arange(num).float().unsqueeze(1).expand(num, horizon), torch.ones(num, horizon)
    return Segments(
        states.expand(-1, -1, 3), states[:, :num_actions, :1] / 10, rew, 0.99 * ones, 0 * ones, torch.ones(num)
    )


def test_segments_with_every_action_become_episodes(file: Path) -> None:
    rows = numbered(3, 4, 4)
    rows.discount[1, 1:] = 0.0  # ends with its second step
    recorded = load_dataset(str(file))
    episodes, num_clipped = as_episodes(rows, recorded.card, recorded.spaces)
    assert episodes.offsets.tolist() == [0, 4, 6, 10]
    assert episodes.obs[:, 0].tolist() == [0, 1, 2, 3, 10, 11, 20, 21, 22, 23]
    assert (episodes.next_obs - episodes.obs == 1).all()
    assert np.flatnonzero(episodes.terminated).tolist() == [5]
    assert np.flatnonzero(episodes.truncated).tolist() == [3, 9]
    assert episodes.act.max() == 2.0  # the bound of Pendulum
    assert num_clipped == 3  # the last three actions are 2.1 to 2.3


def test_of_segments_with_the_first_action_only_first_steps_are_selected() -> None:
    best = Selection(Hardmax(Hardmax.Config(keep_ratio=0.5)), horizon=2, transitions=False)
    chosen = select_segments(best, numbered(4, 3, 1), torch.Generator())
    assert sorted(chosen.obs[:, 0, 0].tolist()) == [20, 30]
    assert (chosen.horizon, chosen.act.shape[1]) == (1, 1)
    whole = select_segments(replace(best, transitions=True), numbered(4, 3, 3), torch.Generator())
    assert (len(whole), whole.horizon, whole.act.shape[1]) == (2, 2, 2)


def trained(file: Path, folder: Path, world_model: dict[str, Any], **options: Any) -> str:
    config = tiny_config(file, world_model, **{"training.num_updates": 10, **options})
    return str(dwm_ray.train(config, folder).folder.parents[1])


def test_transitions_of_dwm_are_generated_and_read_back(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = trained(file, tmp_path, DWM, **{"world_model.first_step": "recorded"})
    target = tmp_path / "dwm.hdf5"
    assert main([run, "--data", "hdf5", "--out", str(target), "--set", "filter=hardmax", "filter.keep_ratio=0.1"]) == 0
    data, recorded = load_dataset(str(target)), load_dataset(str(file))
    assert data.num_transitions == data.num_episodes == 61  # a tenth of each of 5 blocks, rounded
    assert "61 transitions in 61 episodes" in capsys.readouterr().out
    starts = {tuple(row): tuple(following) for row, following in zip(recorded.obs, recorded.next_obs, strict=True)}
    assert all(tuple(row) in starts for row in data.obs)
    assert not any(starts[tuple(row)] == tuple(after) for row, after in zip(data.obs, data.next_obs, strict=True))
    with h5py.File(target) as written:
        assert (written.attrs["filter"], written.attrs["data_fingerprint"]) == ("hardmax", recorded.card.fingerprint)
    assert main([run, "--data", "hdf5", "--out", str(target)]) == 2
    assert main([run, "--data", "hdf5", "--out", str(tmp_path / "x.hdf5"), "--set", "world_model.dim=16"]) == 2
    assert "holds no world model with these options" in capsys.readouterr().err
    assert not (tmp_path / "x.hdf5").exists()


def test_rollouts_of_the_policy_become_a_minari_set(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))
    kwargs = '{"g": 9.0}'
    run = trained(file, tmp_path, ONE_STEP, **{"data.env_kwargs": kwargs})
    args = ["--data", "minari", "--out", "mine/imagined-v0", "--set", "synthesis.num_segments=20"]
    assert main([run, *args]) == 0
    episodes = list(minari.load_dataset("mine/imagined-v0").iterate_episodes())
    assert len(episodes) == 20
    assert {len(episode) for episode in episodes} == {2}  # the horizon
    data = load_dataset("minari:mine/imagined-v0")
    assert (data.num_transitions, data.card.env_options.kwargs) == (40, kwargs)
    target = tmp_path / "imagined.hdf5"
    assert main([run, "--data", "hdf5", "--out", str(target), "--set", "synthesis.num_segments=20"]) == 0
    policy = dwm_ray.load_policy(dwm_ray.train(tiny_config(target, None), tmp_path / "again").folder)
    assert policy.description["env_options"]["kwargs"] == kwargs, "the environment of the scores has the arguments"


def test_trials_without_a_trained_world_model_are_refused(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tiny_config(file, None, **{"training.num_updates": 10})
    run = dwm_ray.train(config, tmp_path).folder.parents[1]
    assert main([str(run), "--data", "hdf5", "--out", str(tmp_path / "x.hdf5")]) == 2
    assert "(TD3+BC) learns from recorded steps; expected --trial ID" in capsys.readouterr().err
    assert main([str(run), "--data", "hdf5"]) == 2
    assert main([str(run), "--set", "synthesis.horizon=3"]) == 2
    assert main([str(run), "--data", "hdf5", "--out", str(tmp_path / "x.hdf5"), "--set", "horizon"]) == 2


def test_scores_of_generated_data_are_raw_returns_if_keyword_arguments_change_the_rewards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    data = load_dataset("halfcheetah-medium-replay", env_kwargs='{"forward_reward_weight": 2.0}')
    first = replace(data, **{name: getattr(data, name)[: data.offsets[1]] for name in ARRAYS})
    task = task_for("", data.card.env_id, 1.0, data.card.env_options)
    monkeypatch.setattr(program, "generate_data", lambda trial, changes: GeneratedData(first, task, {}, {}))
    program._write_data(None, "hdf5", str(tmp_path / "x.hdf5"), {})
    assert f"(score {first.returns()[0]:.1f}, best" in capsys.readouterr().out

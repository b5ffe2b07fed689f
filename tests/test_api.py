"""The Python API on the tiny task."""

from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_task import DWM, ONE_STEP, tiny_config

import dwm_ray
from dwm_ray.data.task_data import load_task_data
from dwm_ray.runs.folder import RunFailed, read_json
from dwm_ray.runs.tensor_files import write_json
from dwm_ray.training.stores import save_model
from dwm_ray.world_models.parts.build import new_model


def test_train_then_load_policy_and_world_model(file: Path, tmp_path: Path) -> None:
    trial = dwm_ray.train(tiny_config(file), tmp_path)
    assert trial.score == pytest.approx(np.mean(trial.returns))
    data = dwm_ray.load_dataset(str(file), "Pendulum-v1")
    policy = dwm_ray.load_policy(trial.folder)
    actions = policy(data.obs[:5])
    assert actions.shape == (5, 1)
    assert (np.abs(actions) <= 2).all()
    np.testing.assert_allclose(policy(data.obs[0].astype(np.float64)), actions[0], rtol=1e-5)
    [folder] = tmp_path.glob("*/world_models/*")
    model = dwm_ray.load_world_model(folder)
    first, again, other = (model.imagine(data.obs[:5], data.act[:5], horizon=2, seed=seed) for seed in (0, 0, 1))
    assert {name: value.shape for name, value in first.items()} == {
        "obs": (5, 3, 3),
        "act": (5, 1, 1),
        "rew": (5, 2),
        "discount": (5, 2),
        "penalty": (5, 2),
    }
    np.testing.assert_array_equal(first["obs"], again["obs"])
    assert not np.array_equal(first["obs"], other["obs"])
    assert model.imagine(data.obs[:5], data.act[:5])["rew"].shape == (5, DWM["sequence_length"] - 1)


def test_a_model_that_follows_a_policy_gets_one(file: Path, tmp_path: Path) -> None:
    dwm_ray.train(tiny_config(file, ONE_STEP), tmp_path)
    [folder] = tmp_path.glob("*/world_models/*")
    seen: list[tuple[int, ...]] = []

    def policy(obs: np.ndarray) -> np.ndarray:
        seen.append(obs.shape)
        return np.zeros((len(obs), 1), np.float32)

    segments = dwm_ray.load_world_model(folder).imagine(np.zeros((4, 3)), np.ones((4, 1)), horizon=3, policy=policy)
    assert segments["obs"].shape == (4, 4, 3)
    assert set(seen) == {(4, 3)}

    model = dwm_ray.load_world_model(folder)
    with pytest.raises(ValueError, match=r"obs: got shape \[4, 2\]; expected finite values of shape \[4, 3\]"):
        model.imagine(np.zeros((4, 2)), np.ones((4, 1)), policy=policy)
    with pytest.raises(ValueError, match=r"act: got shape \[3, 1\]"):
        model.imagine(np.zeros((4, 3)), np.ones((3, 1)), policy=policy)
    with pytest.raises(ValueError, match="obs: got shape"):
        model.imagine(np.full((4, 3), np.nan), np.ones((4, 1)), policy=policy)
    with pytest.raises(ValueError, match=r"policy: got shape \[4, 2\]"):
        model.imagine(np.zeros((4, 3)), np.ones((4, 1)), horizon=3, policy=lambda states: np.zeros((len(states), 2)))
    double = model.imagine(np.zeros((4, 3)), np.ones((4, 1)), horizon=3, policy=lambda states: np.zeros((4, 1)))
    np.testing.assert_array_equal(double["obs"], segments["obs"])


def test_errors_name_what_was_expected(file: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no readable"):
        dwm_ray.load_policy(tmp_path)
    with pytest.raises(ValueError, match="no readable"):
        dwm_ray.load_world_model(tmp_path)
    trial = dwm_ray.train(tiny_config(file, None), tmp_path)
    with pytest.raises(ValueError, match=r"obs: has shape \[7\]; expected \[B, 3\] or \[3\]"):
        dwm_ray.load_policy(trial.folder)(np.zeros(7))
    for obs, entry in (
        ([0, float("nan"), 0], r"\[1\] is nan"),
        ([[0, 0, 0], [0, 0, float("inf")]], r"\[1, 2\] is inf"),
    ):
        with pytest.raises(ValueError, match=rf"obs: entry {entry}; expected finite values"):
            dwm_ray.load_policy(trial.folder)(np.array(obs))
    diverging = {"agent.learning_rate": 1e30, "agent.target_clip": "none"}
    with pytest.raises(RunFailed, match="learning diverged"):
        dwm_ray.train(tiny_config(file, None, **diverging), tmp_path)


def test_only_options_of_a_run_are_trained(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match=r"config: got str; expected the result of dwm_ray\.run_config"):
        dwm_ray.train("x", tmp_path / "runs")  # type: ignore[arg-type]
    assert not (tmp_path / "runs").exists()


def test_a_world_model_of_another_version_is_refused_on_one_line(file: Path, tmp_path: Path) -> None:
    config = tiny_config(file)
    save_model(tmp_path, new_model(config, load_task_data(config), torch.device("cpu")), {})
    description = read_json(tmp_path / "model.json")
    for change in ({"dimm": 8, "depth": 2}, {"dim": 16}):  # options, then shapes of weights
        write_json(tmp_path / "model.json", {**description, "config": {**description["config"], **change}})
        with pytest.raises(ValueError, match="the world model does not fit this version") as caught:
            dwm_ray.load_world_model(tmp_path)
        assert "\n" not in str(caught.value)


def test_an_unknown_profile_is_refused() -> None:
    with pytest.raises(ValueError, match="'big' is not a profile"):
        dwm_ray.run_config("big")  # type: ignore[arg-type]


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'trian'"):
        dwm_ray.trian  # noqa: B018

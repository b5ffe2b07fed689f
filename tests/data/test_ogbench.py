"""OGBench's files: which rows are transitions, and rewards and terminations by the package's own rules."""

import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.spaces import Box
from optional_packages import needs_ogbench
from programs import load_program

from dwm_ray.data import ogbench
from dwm_ray.data.checks import Arrays
from dwm_ray.data.load import load_dataset, load_episodes
from dwm_ray.options import DataConfig
from dwm_ray.tasks.table import task_for

NAME = "linemaze-tiny-navigate-singletask-task2-v0"
ENV = "linemaze-tiny-singletask-task2-v0"


class LineMaze(gymnasium.Env):
    """A position and its double, and a goal that only the environment knows."""

    observation_space, action_space, goal = Box(-99, 99, (2,)), Box(-1, 1, (1,)), 3.0

    def reset(self, **_: Any) -> tuple[np.ndarray, dict[str, Any]]:
        return np.zeros(2, np.float32), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        return np.zeros(2, np.float32), -1.0, False, False, {}


def relabel_dataset(env_name: str, env: gymnasium.Env, dataset: dict[str, np.ndarray]) -> None:
    assert env_name == ENV
    reached = dataset["qpos"][:, 0] == env.unwrapped.goal
    dataset["rewards"], dataset["masks"] = reached - 1.0, 1.0 - reached


@pytest.fixture
def package(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A package with the environment of `NAME` and its rewards."""
    rules = ModuleType("ogbench.relabel_utils")
    rules.relabel_dataset = relabel_dataset
    monkeypatch.setitem(sys.modules, "ogbench", ModuleType("ogbench"))
    monkeypatch.setitem(sys.modules, rules.__name__, rules)
    gymnasium.register(ENV, LineMaze, max_episode_steps=9)
    yield
    gymnasium.registry.pop(ENV)


def walk(first: int, num: int) -> Arrays:
    """A trajectory of `num` states as published: the last row is a state without a transition."""
    position = np.arange(first, first + num, dtype=np.float32)
    return {
        "observations": np.stack([position, 2 * position], 1),
        "actions": np.full((num, 1), 0.1 * first, np.float32),
        "terminals": np.arange(num) == num - 1,
        "qpos": position[:, None],
    }


def write(path: Path, *parts: Arrays, **changes: np.ndarray) -> Path:
    arrays = {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}
    np.savez_compressed(path, **(arrays | changes))
    return path


@pytest.mark.usefixtures("package")
def test_the_last_state_of_a_trajectory_is_no_transition_and_the_goal_terminates(tmp_path: Path) -> None:
    write(tmp_path / "linemaze-tiny-navigate-v0.npz", walk(1, 5), walk(7, 3))
    data = load_episodes(f"ogbench:{NAME}", DataConfig(file=str(tmp_path)))
    assert data.obs[:, 0].tolist() == [1, 2, 3, 4, 7, 8]
    assert data.next_obs[:, 0].tolist() == [2, 3, 4, 5, 8, 9]
    assert data.known_next.all()
    assert data.rew.tolist() == [-1, -1, 0, -1, -1, -1]
    assert np.flatnonzero(data.terminated).tolist() == [2]
    assert np.flatnonzero(data.truncated).tolist() == [3, 5]
    assert (data.card.env_id, data.card.source) == (f"ogbench:{ENV}", "OGBench")
    for env_id in (data.card.env_id, "ogbench:antmaze-medium-singletask-v0"):  # not D4RL's antmaze
        assert task_for(data.card.name, env_id, 0.0).score_unit == "raw return"


@pytest.mark.usefixtures("package")
def test_compact_files_and_files_that_break_off_hold_the_same_transitions(tmp_path: Path) -> None:
    parts = walk(1, 5), walk(7, 3)
    plain = write(tmp_path / "plain.npz", *parts)
    valids = np.array([1, 1, 1, 1, 0, 1, 1, 0], np.float32)
    compact = write(tmp_path / "compact.npz", *parts, valids=valids, terminals=np.roll(1 - valids, -1) + 1 - valids)
    broken = write(tmp_path / "broken.npz", *parts, terminals=np.arange(8) == 4)
    prints = [ogbench.read(NAME, str(path)).card.fingerprint for path in (plain, compact, broken)]
    assert len(set(prints)) == 1


@pytest.mark.usefixtures("package")
def test_files_are_found_in_the_packages_folder_and_faults_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(ValueError, match=r"linemaze-tiny-navigate-v0\.npz does not exist; expected OGBench's file"):
        load_dataset(f"ogbench:{NAME}")
    path = ogbench.folder() / "linemaze-tiny-navigate-v0.npz"
    path.parent.mkdir(parents=True)
    write(path, walk(1, 5))
    assert load_dataset(f"ogbench:{NAME}").num_transitions == 4
    arrays = walk(1, 5)
    del arrays["qpos"]
    for message, content in {
        "no key 'qpos'; expected observations": arrays,
        "arrays have \\[4, 5\\] rows": {**walk(1, 5), "qpos": np.zeros((4, 1))},
        "cannot be read as NumPy's npz": {**walk(1, 5), "actions": np.array([None] * 5)},
    }.items():
        write(path, content)
        with pytest.raises(ValueError, match=f"{path.name}: {message}"):
            load_dataset(f"ogbench:{NAME}")
    path.write_text("no zip")
    with pytest.raises(ValueError, match=f"{path.name}: cannot be read as NumPy's npz"):
        load_dataset(f"ogbench:{NAME}")


def test_missing_files_are_downloaded_on_request(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    fetched = []
    monkeypatch.setattr(ogbench.downloads, "fetch", lambda url, target, on_progress: fetched.append(url) or target)
    task = ogbench.SingleTask.of("cube-double-noisy-singletask-task3-v0")
    ogbench._find(task, None, lambda done, total: None)
    assert fetched == [f"{ogbench.URL}/cube-double-noisy-v0.npz"]
    assert task.env_id == "ogbench:cube-double-singletask-task3-v0"


@pytest.mark.parametrize("name", ["cube-single-play-v0", "visual-cube-single-play-singletask-v0", "../x"])
def test_other_datasets_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match=r"is not a single task with vectors; expected a name such as"):
        ogbench.read(name)


def test_a_missing_package_is_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(sys.modules, "ogbench", None)
    assert load_program("pipelines/train.py").main(["--task", f"ogbench:{NAME}", "--in-process"]) == 2
    assert "the package ogbench is not installed; expected `pip install 'dwm-ray[ogbench]'`" in capsys.readouterr().err


@needs_ogbench
def test_transitions_are_those_of_the_package(tmp_path: Path) -> None:
    """Random actions in an environment of the package, in its layout, read here and there."""
    import ogbench as package

    env, rng = gymnasium.make("cube-single-v0", mode="data_collection", max_episode_steps=9), np.random.default_rng(0)
    rows: dict[str, list[Any]] = {key: [] for key in ("observations", "actions", "terminals", "qpos", "qvel")}
    for episode in range(3):
        (obs, _), done = env.reset(seed=episode), False
        while not done:
            act = rng.uniform(-1, 1, 5)
            following, _, terminated, truncated, info = env.step(act)
            done = terminated or truncated
            for key, value in zip(rows, (obs, act, done, info["prev_qpos"], info["prev_qvel"]), strict=True):
                rows[key].append(value)
            obs = following
    env.close()
    path = write(tmp_path / "cube-single-play-v0.npz", {key: np.array(value) for key, value in rows.items()})
    write(tmp_path / "cube-single-play-v0-val.npz", {key: np.array(value) for key, value in rows.items()})
    name = "cube-single-play-singletask-task1-v0"
    _, expected, _ = package.make_env_and_datasets(name, dataset_path=str(path))
    result = ogbench.read(name, str(path))
    for array, key in ((result.obs, "observations"), (result.next_obs, "next_observations"), (result.rew, "rewards")):
        np.testing.assert_array_equal(array, expected[key])
    np.testing.assert_allclose(result.act, expected["actions"], atol=1e-6)
    np.testing.assert_array_equal(result.terminated, expected["masks"] == 0)
    np.testing.assert_array_equal(
        result.terminated | result.truncated, (expected["terminals"] + 1 - expected["masks"]) > 0
    )

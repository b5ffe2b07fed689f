from pathlib import Path
from typing import Any

import gymnasium
import minari as minari_package
import numpy as np
import pytest
from gymnasium import spaces
from minari.data_collector import EpisodeBuffer
from recordings import CARD, pendulum

from dwm_ray.data import minari
from dwm_ray.data.checks import episodes_from
from dwm_ray.data.export import write_minari

BOX = spaces.Box(-np.inf, np.inf, (2,), np.float64)
ACTION = spaces.Box(-1, 1, (1,), np.float32)


@pytest.fixture(autouse=True)
def _local_sets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))


def create(name: str, observations: Any, space: gymnasium.Space, **ends: list[bool]) -> None:
    buffer = EpisodeBuffer(
        observations=observations,
        actions=np.zeros((3, 1), np.float32),
        rewards=np.arange(3.0),
        terminations=np.array(ends.get("terminations", [False] * 3)),
        truncations=np.array(ends.get("truncations", [False] * 3)),
        infos={},
    )
    minari_package.create_dataset_from_buffers(
        name, [buffer, buffer], observation_space=space, action_space=ACTION, description="test", data_format="hdf5"
    )


def test_last_next_observation_is_known() -> None:
    create("test/a-v0", np.arange(8.0).reshape(4, 2), BOX, terminations=[False, False, True])
    data = minari.read("test/a-v0", download=False, env_id="Pendulum-v1")
    assert data.known_next.all()
    assert data.next_obs.tolist() == [[2, 3], [4, 5], [6, 7]] * 2
    assert data.terminated.tolist() == [False, False, True] * 2
    assert not data.truncated.any()
    assert (data.card.source, data.card.name) == ("Minari", "test/a-v0")


def test_unmarked_end_is_a_truncation() -> None:
    create("test/b-v0", np.zeros((4, 2)), BOX)
    data = minari.read("test/b-v0", download=False, env_id="Pendulum-v1")
    assert data.truncated.tolist() == [False, False, True] * 2


def test_maze_goal_is_appended() -> None:
    space = spaces.Dict({"observation": BOX, "desired_goal": BOX, "achieved_goal": BOX})
    content = {"observation": np.zeros((4, 2)), "desired_goal": np.ones((4, 2)), "achieved_goal": np.zeros((4, 2))}
    create("test/maze-v0", content, space)
    data = minari.read("test/maze-v0", download=False, env_id="Maze-v1")
    assert data.obs[0].tolist() == [0, 0, 1, 1]
    assert data.spaces.obs_size == 4


def test_other_dictionaries_are_refused() -> None:
    create("test/dict-v0", {"camera": np.zeros((4, 2))}, spaces.Dict({"camera": BOX}))
    with pytest.raises(ValueError, match=r"minari:test/dict-v0: observations are a dictionary of camera"):
        minari.read("test/dict-v0", download=False, env_id="X-v0")


def test_absent_and_nameless_sets_are_named() -> None:
    with pytest.raises(ValueError, match=r"minari:test/none-v0: not on this machine; --data.download"):
        minari.read("test/none-v0", download=False)
    create("test/c-v0", np.zeros((4, 2)), BOX)
    with pytest.raises(ValueError, match=r"minari:test/c-v0: does not name its environment; give --data.env"):
        minari.read("test/c-v0", download=False)


def test_exported_set_reads_back() -> None:
    following = {"next_observations": np.roll(pendulum()["observations"], -1, axis=0)}
    data = episodes_from({**pendulum(), **following}, CARD)
    write_minari(data, "test/export-v0", "made-up")
    back = minari.read("test/export-v0", download=False)
    assert back.card.env_id == "Pendulum-v1"
    assert back.card.fingerprint == data.card.fingerprint
    with pytest.raises(ValueError, match=r"minari:test/export-v0: exists already"):
        write_minari(data, "test/export-v0", "made-up")
    with pytest.raises(ValueError, match=r"minari:no version: not an id such as"):
        write_minari(data, "no version", "made-up")


def test_export_refuses_unknown_last_states() -> None:
    with pytest.raises(ValueError, match="2 of 2 episodes lack the state after their last step"):
        write_minari(episodes_from(pendulum(), CARD), "test/lacking-v0", "made-up")

import errno
import sys
from pathlib import Path
from typing import Any

import gymnasium
import minari as minari_package
import numpy as np
import pytest
from gymnasium import spaces
from minari.data_collector import EpisodeBuffer
from optional_packages import needs_robotics
from recordings import CARD, pendulum

from dwm_ray.data import minari
from dwm_ray.data.checks import episodes_from
from dwm_ray.data.export import write_minari
from dwm_ray.data.load import load_episodes
from dwm_ray.data.recording.collector import Collector, RecordingOptions
from dwm_ray.data.summary import data_summary, summary_text
from dwm_ray.options import DataConfig
from dwm_ray.tasks.environments import spaces_of
from dwm_ray.tasks.table import task_for
from dwm_ray.types import Episodes

BOX = spaces.Box(-np.inf, np.inf, (2,), np.float64)
ACTION = spaces.Box(-1, 1, (1,), np.float32)
GOALS = spaces.Dict({"observation": BOX, "desired_goal": BOX, "achieved_goal": BOX})


class Toy(gymnasium.Env):
    """Environment of the made-up sets."""

    action_space = ACTION

    def __init__(self, observation_space: gymnasium.Space) -> None:
        self.observation_space = observation_space


gymnasium.register("Toy-v0", Toy, kwargs={"observation_space": BOX})
gymnasium.register("GoalToy-v0", Toy, kwargs={"observation_space": GOALS})


def create(
    name: str,
    observations: Any,
    space: gymnasium.Space,
    num_actions: int = 1,
    action_space: gymnasium.Space | None = None,
    **ends: list[bool],
) -> None:
    action_space = action_space or spaces.Box(-1, 1, (num_actions,), np.float32)
    buffer = EpisodeBuffer(
        observations=observations,
        actions=np.zeros((3, *(action_space.shape or ())), action_space.dtype),
        rewards=np.arange(3.0),
        terminations=np.array(ends.get("terminations", [False] * 3)),
        truncations=np.array(ends.get("truncations", [False] * 3)),
        infos={},
    )
    minari_package.create_dataset_from_buffers(
        name,
        [buffer, buffer],
        observation_space=space,
        action_space=action_space,
        description="test",
        data_format="hdf5",
    )


def maze(observation: int = 2) -> dict[str, np.ndarray]:
    """Return four goal-aware observations: 0 to 3 in 'observation', 10 in 'achieved_goal', 20 in 'desired_goal'."""
    seen = np.arange(4.0)[:, None].repeat(observation, axis=1)
    return {"observation": seen, "achieved_goal": np.full((4, 2), 10.0), "desired_goal": np.full((4, 2), 20.0)}


def random_recording(env_id: str, steps: int, folder: Path) -> Episodes:
    return Collector(RecordingOptions(env_id, "random", steps), folder, lambda *progress: None).run()


def test_last_next_observation_is_known() -> None:
    create("test/a-v0", np.arange(8.0).reshape(4, 2), BOX, terminations=[False, False, True])
    data = minari.read("test/a-v0", download=False, env_id="Toy-v0")
    assert data.known_next.all()
    assert data.next_obs.tolist() == [[2, 3], [4, 5], [6, 7]] * 2
    assert data.terminated.tolist() == [False, False, True] * 2
    assert not data.truncated.any()
    assert (data.card.source, data.card.name) == ("Minari", "test/a-v0")


def test_unmarked_end_is_a_truncation() -> None:
    create("test/b-v0", np.zeros((4, 2)), BOX)
    data = minari.read("test/b-v0", download=False, env_id="Toy-v0")
    assert data.truncated.tolist() == [False, False, True] * 2


def test_maze_goal_is_appended() -> None:
    create("test/maze-v0", maze(), GOALS)
    data = minari.read("test/maze-v0", download=False, env_id="GoalToy-v0")
    assert data.obs[:2].tolist() == [[0, 0, 20, 20], [1, 1, 20, 20]]
    assert data.next_obs[2].tolist() == [3, 3, 20, 20]
    assert data.spaces.obs_size == 4


@needs_robotics
def test_antmaze_position_is_part_of_the_state() -> None:
    space = {"observation": spaces.Box(-np.inf, np.inf, (27,), np.float64), "desired_goal": BOX, "achieved_goal": BOX}
    create("test/antmaze-v0", maze(27), spaces.Dict(space), num_actions=8)
    data = minari.read("test/antmaze-v0", download=False, env_id="AntMaze_UMaze-v4")
    assert data.obs.shape == (6, 31)
    assert data.obs[1].tolist() == [10, 10, *[1] * 27, 20, 20]


def test_a_set_without_a_usable_environment_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    create("test/far-v0", maze(), GOALS)
    monkeypatch.setitem(sys.modules, "gymnasium_robotics", None)
    missing = r"^minari:test/far-v0: environment 'PointMaze_.*pip install gymnasium-robotics$"
    with pytest.raises(ValueError, match=missing):
        minari.read("test/far-v0", download=False, env_id="PointMaze_Open_Diverse_G-v3")
    with pytest.raises(ValueError, match=r"'observations' has shape \(6, 4\); expected \(6, 2\)"):
        minari.read("test/far-v0", download=False, env_id="Toy-v0")


def test_other_dictionaries_are_refused() -> None:
    create("test/dict-v0", {"camera": np.zeros((4, 2))}, spaces.Dict({"camera": BOX}))
    with pytest.raises(ValueError, match=r"minari:test/dict-v0: observations are a dictionary of camera"):
        minari.read("test/dict-v0", download=False, env_id="Toy-v0")


def test_spaces_that_are_no_vectors_are_refused() -> None:
    create("test/number-v0", np.arange(4), spaces.Discrete(9))
    with pytest.raises(ValueError, match=r"minari:test/number-v0: observations are Discrete\(9\); expected a vector"):
        minari.read("test/number-v0", download=False, env_id="none")
    create("test/choice-v0", np.zeros((4, 2)), BOX, action_space=spaces.Discrete(3))
    with pytest.raises(ValueError, match=r"minari:test/choice-v0: actions are Discrete\(3\); expected a vector"):
        minari.read("test/choice-v0", download=False, env_id="none")


def test_a_truncated_set_is_named(datasets: Path) -> None:
    create("test/half-v0", np.zeros((4, 2)), BOX)
    file = datasets / "test" / "half-v0" / "data" / minari.MAIN_FILE
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 3])
    with pytest.raises(ValueError, match=r"minari:test/half-v0: cannot be read as HDF5 .* expected a complete file"):
        minari.read("test/half-v0", download=False, env_id="none")


def test_absent_and_nameless_sets_are_named() -> None:
    with pytest.raises(ValueError, match=r"minari:test/none-v0: not on this machine; --execution.download"):
        minari.read("test/none-v0", download=False)
    create("test/c-v0", np.zeros((4, 2)), BOX)
    assert minari.read("test/c-v0", download=False).card.env_id is None


@pytest.mark.parametrize(("name", "message"), [("test/c-v0", "exists already"), ("no version", "not a dataset id")])
def test_an_export_to_a_taken_or_invalid_id_is_refused(name: str, message: str) -> None:
    create("test/c-v0", np.zeros((4, 2)), BOX)
    with pytest.raises(ValueError, match=f"minari:{name}: {message}"):
        write_minari(episodes_from(pendulum(), CARD), name, "made-up")


def test_an_export_that_fails_leaves_no_set(datasets: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(dataset_id: str, *args: Any, **options: Any) -> None:
        (datasets / dataset_id / "data").mkdir(parents=True)
        raise OSError(errno.ENOSPC, "No space left on device")

    create("test/source-v0", np.zeros((4, 2)), BOX)
    data = minari.read("test/source-v0", download=False, env_id="Toy-v0")
    monkeypatch.setattr(minari_package, "create_dataset_from_buffers", fail)
    with pytest.raises(OSError, match="No space left"):
        write_minari(data, "test/lost-v0", "made-up")
    assert not (datasets / "test" / "lost-v0").exists()


def test_export_refuses_unknown_last_states() -> None:
    with pytest.raises(ValueError, match="2 of 2 episodes lack the state after their last step"):
        write_minari(episodes_from(pendulum(), CARD), "test/lacking-v0", "made-up")


@needs_robotics
def test_a_task_is_read_from_its_minari_set(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"minari:D4RL/pointmaze/umaze-v2: not on this machine; --execution.download"):
        load_episodes("maze2d-umaze", DataConfig())
    created = random_recording("PointMaze_UMaze-v3", 20, tmp_path / "made")
    write_minari(created, "D4RL/pointmaze/umaze-v2", "made-up")
    data = load_episodes("maze2d-umaze", DataConfig())
    assert (data.card.source, data.card.fingerprint) == ("Minari", created.card.fingerprint)
    assert set(np.unique(data.rew)) == {0.0}
    assert "all rewards are equal" in summary_text(data_summary(data, task_for("", data.card.env_id, 0.0)))


@needs_robotics
def test_a_recording_from_a_maze_is_exported_as_vectors(tmp_path: Path) -> None:
    data = random_recording("AntMaze_UMaze-v4", 12, tmp_path / "made")
    write_minari(data, "test/ant-v0", "made-up")
    back = minari.read("test/ant-v0", download=False)
    assert (back.card.fingerprint, back.card.env_id) == (data.card.fingerprint, "AntMaze_UMaze-v4")


def test_a_missing_package_is_reported_before_the_download(monkeypatch: pytest.MonkeyPatch) -> None:
    spaces_of.cache_clear()
    monkeypatch.setitem(sys.modules, "gymnasium_robotics", None)
    with pytest.raises(ValueError, match=r"^--task pen-human: .*pip install gymnasium-robotics$"):
        load_episodes("pen-human", DataConfig(), download=True)

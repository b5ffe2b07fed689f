"""The scripted controller of PointMaze."""

from pathlib import Path

import numpy as np
import pytest
from optional_packages import needs_robotics

from dwm_ray.data.recording.collector import Collector, RecordingOptions
from dwm_ray.data.recording.waypoints import steps_to
from dwm_ray.types import Episodes


def record(env_id: str, steps: int, folder: Path) -> Episodes:
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
    data = record("PointMaze_UMaze-v3", 900, tmp_path / "a")
    assert (data.obs.shape, data.num_episodes, data.truncated.sum()) == ((900, 6), 3, 3)
    assert set(np.unique(data.rew)) == {0.0, 1.0}
    assert data.returns().min() > 50
    at_goal = np.linalg.norm(data.next_obs[:, :2] - data.next_obs[:, 4:], axis=1) <= 0.45
    np.testing.assert_array_equal(data.rew == 1, at_goal)
    assert record("PointMaze_UMaze-v3", 900, tmp_path / "b").card.fingerprint == data.card.fingerprint


def test_other_environments_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="--recipe waypoints: cannot control Pendulum-v1; expected a PointMaze"):
        record("Pendulum-v1", 20, tmp_path / "a")
    assert not (tmp_path / "a").exists()

"""D4RL's names of mazes and hands, found in and written to Minari's sets."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from dwm_ray.data import minari
from dwm_ray.data.collection import Collection, Plan
from dwm_ray.data.export import write_minari
from dwm_ray.data.load import describe_line, load_episodes, summary
from dwm_ray.options import DataConfig
from dwm_ray.tasks.spaces import spaces_of
from dwm_ray.tasks.table import task_for


@pytest.fixture(autouse=True)
def _local_sets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))


def test_a_task_is_its_minari_set(tmp_path: Path) -> None:
    pytest.importorskip("gymnasium_robotics")
    with pytest.raises(ValueError, match=r"minari:D4RL/pointmaze/umaze-v2: not on this machine; --execution.download"):
        load_episodes("maze2d-umaze", DataConfig())
    plan = Plan("PointMaze_UMaze-v3", "random", 20, seed=0, train_steps=1, stop_score=None, checkpoint_every=100)
    made = Collection(plan, tmp_path / "made", lambda stage, done, total: None).run()
    write_minari(made, "D4RL/pointmaze/umaze-v2", "made-up")
    data = load_episodes("maze2d-umaze", DataConfig())
    assert (data.card.source, data.card.fingerprint) == ("Minari", made.card.fingerprint)
    assert set(np.unique(data.rew)) == {0.0}
    assert "all rewards are equal" in describe_line(summary(data, task_for("", data.card.env_id, 0.0)))


def test_a_missing_package_is_said_before_the_download(monkeypatch: pytest.MonkeyPatch) -> None:
    spaces_of.cache_clear()
    monkeypatch.setitem(sys.modules, "gymnasium_robotics", None)
    with pytest.raises(ValueError, match=r"^--task pen-human: .*pip install gymnasium-robotics$"):
        load_episodes("pen-human", DataConfig(), download=True)


def test_a_recording_from_a_maze_is_exported_as_vectors(tmp_path: Path) -> None:
    pytest.importorskip("gymnasium_robotics")
    plan = Plan("AntMaze_UMaze-v4", "random", 12, seed=0, train_steps=1, stop_score=None, checkpoint_every=100)
    data = Collection(plan, tmp_path / "made", lambda stage, done, total: None).run()
    write_minari(data, "test/ant-v0", "made-up")
    back = minari.read("test/ant-v0", download=False)
    assert (back.card.fingerprint, back.card.env_id) == (data.card.fingerprint, "AntMaze_UMaze-v4")

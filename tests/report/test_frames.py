"""Frames of the best policy: rendered in a process of its own, skipped with a reason, and stored."""

import base64
import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import imageio.v3 as iio
import numpy as np
import pytest
from tiny_task import tiny_config

from dwm_ray.env_options import REGISTERED
from dwm_ray.report import frames as module
from dwm_ray.report.frames import best_frames
from dwm_ray.runs.tensor_files import write_json
from dwm_ray.training.stores import save_agent
from dwm_ray.types import DataStats, Spaces

RESULTS = {"best": {"id": "t", "updates": 7}, "data": {"env_id": "InvertedPendulum-v5"}}


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run folder with an untrained policy for the inverted pendulum."""
    config, zeros = tiny_config(tmp_path / "none.hdf5"), np.zeros(4, np.float32)
    spaces, stats = Spaces(4, 1, (-3.0,), (3.0,)), DataStats(zeros, zeros + 1, *[0.0, 1.0] * 3)
    agent = config.agent.plugin(config.agent, spaces, stats, config.training)
    episodes = SimpleNamespace(spaces=spaces, returns=lambda: np.zeros(1))
    task = SimpleNamespace(env_id="InvertedPendulum-v5", env_options=REGISTERED)
    task_data: Any = SimpleNamespace(stats=stats, episodes=episodes, task=task)
    save_agent(tmp_path / "trials" / "t" / "checkpoint", agent, config, task_data, 7)
    write_json(tmp_path / "trials" / "t" / "config.json", json.loads(config.model_dump_json()))
    return tmp_path


def test_frames_of_an_episode_are_rendered_once(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    backend = module._backend()
    program = [sys.executable, "-c", "import mujoco; mujoco.GLContext(8, 8).make_current()"]
    if backend is None or subprocess.run(program, env={**os.environ, "MUJOCO_GL": backend}, check=False).returncode:
        pytest.skip("no OpenGL for rendering without a display")
    monkeypatch.delenv("MUJOCO_GL")
    result = best_frames(run, RESULTS)
    assert result is not None
    assert "skipped" not in result
    images = [iio.imread(base64.b64decode(frame["png"])) for frame in result["frames"]]
    assert images[0].shape == (180, 240, 3)
    assert images[0].std() > 1, "an image of something"
    assert result["frames"][0]["step"] == 0
    assert (result["env_id"], result["seed"], result["method"]) == ("InvertedPendulum-v5", 0, "DWM-TD3+BC")
    monkeypatch.setattr(module, "_render_in_subprocess", pytest.fail)
    assert best_frames(run, RESULTS) == result


@pytest.mark.parametrize("value", ["disabled", "off"])
def test_a_user_can_disable_rendering(run: Path, monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("MUJOCO_GL", value)
    assert best_frames(run, RESULTS) == {"frames": [], "skipped": f"MUJOCO_GL is {value}"}


def test_a_crash_and_a_hang_cost_a_line(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MUJOCO_GL", "egl")
    crashed = subprocess.CompletedProcess([], -11, "", "loading\nlibEGL: no device\n")
    monkeypatch.setattr(module.subprocess, "run", lambda *args, **options: crashed)
    result = best_frames(run, RESULTS)
    assert result == {"frames": [], "skipped": "rendering failed with MUJOCO_GL=egl (libEGL: no device)"}

    def hang(*args: Any, **options: Any) -> None:
        raise subprocess.TimeoutExpired("render", 90)

    monkeypatch.setattr(module.subprocess, "run", hang)
    assert best_frames(run, RESULTS) == {"frames": [], "skipped": "rendering took more than 90 s"}


def test_messages_of_an_environment_are_ignored(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MUJOCO_GL", "egl")
    ended = subprocess.CompletedProcess([], 0, 'simulator 3.1\n["a", "b"]\n', "")
    monkeypatch.setattr(module.subprocess, "run", lambda *args, **options: ended)
    result = best_frames(run, RESULTS)
    assert result is not None
    assert result["frames"] == [{"step": 0, "png": "a"}, {"step": 20, "png": "b"}]


def test_a_damaged_policy_costs_a_line(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MUJOCO_GL", "egl")
    (run / "trials" / "t" / "checkpoint" / "agent.safetensors").write_bytes(b"damaged")
    result = best_frames(run, RESULTS)
    assert result is not None
    assert result["frames"] == []
    assert result["skipped"].startswith("the policy cannot be run (")


@pytest.mark.parametrize("env_id", ["Pendulum-v1", "Unknown-v0", None])
def test_other_tasks_have_no_frames(run: Path, env_id: str | None) -> None:
    assert best_frames(run, RESULTS | {"data": {"env_id": env_id}}) is None
    assert best_frames(run, RESULTS | {"best": None}) is None

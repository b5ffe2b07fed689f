"""Rendered frames of a run's best policy in its MuJoCo environment.

The policy acts in this process; its states are rendered in another one (`rendering`) with a time limit. The frames are
stored in the run folder, so that a report can be rebuilt without the policy and without OpenGL.
"""

import json
import os
import subprocess
import sys
from ctypes.util import find_library
from pathlib import Path
from typing import Any

from dwm_ray.env_options import EnvOptions
from dwm_ray.errors import last_line, one_line
from dwm_ray.experiment.names import method_name
from dwm_ray.local.api import load_policy
from dwm_ray.report import rendering
from dwm_ray.runs.folder import read_json
from dwm_ray.runs.tensor_files import write_json
from dwm_ray.tasks.environments import bare_id, make_environment, specification
from dwm_ray.types import Json

STEPS = range(0, 101, 20)
"""Environment steps that are rendered."""
LIMIT_S = 90.0
BACKENDS = {"egl": "EGL", "osmesa": "OSMesa"}
"""Value of MUJOCO_GL for machines without a display -> the library that it needs."""
DISABLED = ("disable", "disabled", "off", "false", "0")
"""Values of MUJOCO_GL that disable rendering."""


def best_frames(run: Path, results: Json) -> Json | None:
    """Return frames of the best trial's policy, or the reason why there are none; None for tasks without MuJoCo."""
    best, env_id = results["best"], results["data"].get("env_id")
    if best is None or env_id is None or not _is_mujoco(env_id):
        return None
    stored = read_json(run / "frames.json")
    if stored and (stored["trial"], stored["updates"]) == (best["id"], best["updates"]):
        return stored
    reason = _render_in_subprocess(run / "trials" / best["id"], run / "frames.json", best["updates"])
    return read_json(run / "frames.json") if reason is None else {"frames": [], "skipped": reason}


def _is_mujoco(env_id: str) -> bool:
    try:
        return "gymnasium.envs.mujoco" in str(specification(env_id).entry_point)
    except ValueError:
        return False


def _render_in_subprocess(trial: Path, out: Path, updates: int) -> str | None:
    """Write the frames, which a new process renders; return the reason if this fails."""
    if not (trial / "checkpoint").is_dir():
        return "the run folder has no weights of the policy"
    backend = os.environ.get("MUJOCO_GL") or _backend()
    if backend is None or backend.lower() in DISABLED:
        return "no OpenGL for rendering without a display" if backend is None else f"MUJOCO_GL is {backend}"
    try:
        description, request = rollout(trial)
    except (ValueError, OSError) as error:
        return f"the policy cannot be run ({one_line(error)})"
    command = [sys.executable, "-m", rendering.__name__]
    options: Json = {"env": {**os.environ, "MUJOCO_GL": backend, "OMP_NUM_THREADS": "1"}, "timeout": LIMIT_S}
    try:
        process = subprocess.run(
            command, input=json.dumps(request), capture_output=True, text=True, check=False, **options
        )
    except subprocess.TimeoutExpired:
        return f"rendering took more than {LIMIT_S:g} s"
    if process.returncode:
        return f"rendering failed with MUJOCO_GL={backend} ({last_line(process.stderr)[:200]})"
    images = json.loads(last_line(process.stdout))  # other lines are messages of the environment
    frames = [{"step": step, "png": image} for step, image in zip(STEPS, images, strict=False)]
    write_json(out, {"trial": trial.name, "updates": updates, **description, "frames": frames})
    return None


def _backend() -> str | None:
    """Return a value of MUJOCO_GL that works on this machine, or None."""
    if sys.platform != "linux":
        return "glfw"
    return next((name for name, library in BACKENDS.items() if find_library(library)), None)


def rollout(trial: Path) -> tuple[Json, Json]:
    """Return a description of the first steps of an episode, and the request for `rendering.render`."""
    policy, config = load_policy(trial), read_json(trial / "config.json") or {}
    env_id, options = policy.description["env_id"], EnvOptions.from_json(policy.description.get("env_options", {}))
    env = make_environment(env_id, options)
    simulator: Any = env.unwrapped
    obs, _ = env.reset(seed=0)
    states, over = [], False
    for step in range(STEPS.stop):
        if step in STEPS:
            states.append((simulator.data.qpos.tolist(), simulator.data.qvel.tolist()))
        if over:
            break
        obs, _, terminated, truncated, _ = env.step(policy(obs))
        over = terminated or truncated
    seconds = float(getattr(simulator, "dt", 0.0))
    env.close()
    description = {"env_id": env_id, "method": method_name(config), "seed": config["seed"], "dt": seconds}
    return description, {"env_id": bare_id(env_id), "kwargs": json.loads(options.kwargs), "states": states}

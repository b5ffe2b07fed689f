"""Read OGBench's datasets (arXiv 2410.20092) with the rewards of a single task.

A file NAME.npz contains the states of trajectories in order: observations [N, O], actions [N, A], terminals [N], qpos,
qvel and, in some files, button_states. `terminals` mark the last state of a trajectory, which has no transition. The
files contain no rewards. Files in OGBench's compact form mark transitions by `valids` instead.

The rewards of a single task are functions of the state, computed by the package itself: -1 per step, 0 at the goal
(manipulation: minus the number of unsolved subtasks). A transition from a goal state terminates, as in the package's
environments, although the recording continues. Each terminated transition ends an episode.
"""

from __future__ import annotations

import re
import zipfile
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dwm_ray.data import download as downloads
from dwm_ray.data.checks import Arrays, episodes_from
from dwm_ray.data.environment import NO_ENVIRONMENT, NamedEnvironment, with_environment
from dwm_ray.errors import optional_module
from dwm_ray.runs.home import home_folder
from dwm_ray.tasks.environments import make_environment
from dwm_ray.types import DataCard, Episodes

PREFIX = "ogbench:"
URL = "https://rail.eecs.berkeley.edu/datasets/ogbench"
NAME = re.compile(r"([a-z0-9-]+)-([a-z0-9]+)-(singletask(?:-task[1-9])?)-(v\d+)")
REQUIRED, INFO = ("observations", "actions", "terminals", "qpos"), ("qpos", "qvel", "button_states")


@dataclass(frozen=True)
class SingleTask:
    """Dataset and environment of a name such as 'cube-single-play-singletask-task2-v0'."""

    name: str
    file_name: str
    """Name of the published file, which is the same for all tasks of an environment."""
    env_id: str
    """Id including its module: 'ogbench:cube-single-singletask-task2-v0'."""

    @staticmethod
    def of(name: str) -> SingleTask:
        """Parse a name; raise ValueError for other datasets of OGBench, which lack rewards or vectors."""
        match = NAME.fullmatch(name)
        if match is None or name.startswith(("visual-", "powderworld-")):
            raise ValueError(
                f"--task {PREFIX}{name}: is not a single task with vectors; expected a name such as "
                "cube-single-play-singletask-v0 or antmaze-medium-navigate-singletask-task1-v0"
            )
        env, kind, task, version = match.groups()
        return SingleTask(name, f"{env}-{kind}-{version}.npz", f"ogbench:{env}-{task}-{version}")


def folder() -> Path:
    """Return the folder of OGBench's files."""
    return home_folder() / ".ogbench" / "data"


def read(
    name: str,
    location: str | None = None,
    download: downloads.OnProgress | None = None,
    env_id: str | None = None,
    env_kwargs: str | None = None,
) -> Episodes:
    """Return the transitions of a single task.

    Args:
        name: Name of the dataset with its task, without the prefix.
        location: The file, or a folder that contains it; default: OGBench's own folder.
        download: Progress callback; if given, a missing file is downloaded to OGBench's own folder.
        env_id: Another environment for scoring policies.
        env_kwargs: JSON object of keyword arguments of the environment.

    Raises:
        ValueError: The package or the file is missing, or the file cannot be read.
    """
    task = SingleTask.of(name)
    _package(name)
    path = _find(task, location, download)
    card = DataCard(
        f"{PREFIX}{name}", "OGBench", str(path), None if env_id == NO_ENVIRONMENT else env_id or task.env_id, ""
    )
    card = with_environment(card, NamedEnvironment(task.env_id), env_kwargs)
    return episodes_from(_transitions(path, task), card)


def _package(name: str) -> Any:
    """Return the package's reward rules; importing them registers its environments."""
    return optional_module("ogbench.relabel_utils", f"--task {PREFIX}{name}", "ogbench")


def _find(task: SingleTask, location: str | None, download: downloads.OnProgress | None) -> Path:
    target = folder() if location is None else Path(location).expanduser()
    path = target if target.suffix == ".npz" else target / task.file_name
    if path.is_file():
        return path
    if location is None and download is not None:
        return downloads.fetch(f"{URL}/{task.file_name}", path, download)
    raise ValueError(
        f"--task {PREFIX}{task.name}: {path} does not exist; expected OGBench's file (--execution.download fetches "
        f"it to {folder()}, --data.file names another file or folder)"
    )


def _transitions(path: Path, task: SingleTask) -> Arrays:
    """Return the transitions of a file with the task's rewards."""
    arrays = _contents(path)
    is_step = arrays["valids"].astype(bool) if "valids" in arrays else arrays["terminals"] == 0
    is_step[-1] = False  # no state follows
    steps = np.flatnonzero(is_step)
    rewards, masks = _rewards(task, {key: arrays[key][steps] for key in INFO if key in arrays})
    terminated = masks == 0
    return {
        "observations": arrays["observations"][steps],
        "actions": arrays["actions"][steps],
        "rewards": rewards,
        "terminals": terminated,
        "timeouts": ~is_step[steps + 1] & ~terminated,
        "next_observations": arrays["observations"][steps + 1],
    }


def _rewards(task: SingleTask, states: Arrays) -> tuple[np.ndarray, np.ndarray]:
    """Return the rewards [N] and masks [N] of states according to the package; the mask is 0 at the goal."""
    relabelled = dict(states)
    with closing(make_environment(task.env_id)) as env:
        _package(task.name).relabel_dataset(task.env_id.rpartition(":")[2], env, relabelled)
    return relabelled["rewards"], relabelled["masks"]


def _contents(path: Path) -> Arrays:
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {key: file[key] for key in (*REQUIRED, *INFO, "valids") if key in file}
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path}: cannot be read as NumPy's npz ({error}); expected a complete file") from error
    missing = [key for key in REQUIRED if key not in arrays]
    if missing:
        raise ValueError(f"{path}: no key {', '.join(map(repr, missing))}; expected {', '.join(REQUIRED)}")
    lengths = {len(array) for array in arrays.values()}
    if len(lengths) > 1 or lengths == {0}:
        raise ValueError(f"{path}: arrays have {sorted(lengths)} rows; expected one number above 0")
    return arrays

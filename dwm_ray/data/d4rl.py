"""D4RL's HDF5 v2 layout (arXiv 2004.07219), and where D4RL's own files are stored and downloaded.

An episode ends on a terminal or a timeout; only a terminal stops bootstrapping. D4RL's MuJoCo v2 data belong to
Gymnasium's -v4 environments (Hopper, Walker2d and Ant differ in -v5).
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import h5py
import numpy as np

from dwm_ray.data import download as downloads
from dwm_ray.data.checks import OPTIONAL, REQUIRED, Arrays, environment_id, episodes_from
from dwm_ray.tasks.environments import spaces_of
from dwm_ray.tasks.table import LOCOMOTION, QUALITIES, check_name
from dwm_ray.types import DataCard, Episodes

URL = "https://rail.eecs.berkeley.edu/datasets/offline_rl/gym_mujoco_v2"
OWN_NAME = re.compile(rf"({'|'.join(LOCOMOTION)})_({'|'.join(q.replace('-', '_') for q in QUALITIES)})-v2")
ANT_WITH_CONTACTS, ANT_WITHOUT = 111, 27


def read(path: Path, name: str, source: str, env_id: str | None) -> Episodes:
    """Return the episodes of an HDF5 file; `env_id` is needed if neither the file nor its name implies one."""
    arrays, named = _contents(path)
    env_id = environment_of(path, named, env_id)
    _drop_unused_contacts(arrays, env_id)
    return episodes_from(arrays, DataCard(name, source, str(path), env_id, fingerprint=""))


def environment_of(path: Path, named: str | None, requested: str | None) -> str:
    """Return the environment of a file (see `environment_id`); D4RL's own file names imply one."""
    match = OWN_NAME.fullmatch(path.stem)
    return environment_id(str(path), named, requested, f"{LOCOMOTION[match[1]].env_id}-v4" if match else None)


def file_name(task: str) -> str:
    """Return D4RL's file name: 'halfcheetah-medium-replay' -> 'halfcheetah_medium_replay-v2.hdf5'."""
    return f"{task.replace('-', '_')}-v2.hdf5"


def folder() -> Path:
    """Return the folder of D4RL's files: $D4RL_DATASET_DIR, else ~/.d4rl/datasets."""
    return Path(os.environ.get("D4RL_DATASET_DIR") or Path.home() / ".d4rl" / "datasets")


def find(task: str) -> Path | None:
    """Return D4RL's own file of a task on this machine, or None."""
    path = folder() / file_name(task)
    return path if path.is_file() else None


def download(task: str, on_progress: downloads.OnProgress, url: str = URL) -> Path:
    """Download D4RL's own file of a task into `folder()`, continuing an earlier attempt; return its path."""
    check_name(task)
    return downloads.fetch(f"{url}/{file_name(task)}", folder() / file_name(task), on_progress)


def _contents(path: Path) -> tuple[Arrays, str | None]:
    if not path.is_file():
        raise ValueError(f"{path}: no such file")
    try:
        with h5py.File(path, "r") as file:
            found = [key for key in (*REQUIRED, *OPTIONAL) if isinstance(file.get(key), h5py.Dataset)]
            _check_own(path, file, found)
            named = file.attrs.get("env_id")
            return {key: file[key][()] for key in found}, named.decode() if isinstance(named, bytes) else named
    except (OSError, RuntimeError, KeyError) as error:
        raise ValueError(f"{path}: cannot be read as HDF5 ({error}); expected a complete file") from error


def _check_own(path: Path, file: h5py.File, keys: list[str]) -> None:
    """Refuse arrays in other files, which HDF5 would open anywhere on this machine."""
    for key in keys:
        if file[key].file.filename != file.filename or file[key].external or file[key].is_virtual:
            raise ValueError(f"{path}: {key!r} is stored in another file; expected all arrays in this one")


def _drop_unused_contacts(arrays: Arrays, env_id: str) -> None:
    """Remove the 84 contact forces that are always zero in D4RL's Ant data and absent from Ant-v4."""
    if not env_id.startswith("Ant-") or spaces_of(env_id).obs_size != ANT_WITHOUT:
        return
    for key in {"observations", "next_observations"} & arrays.keys():
        array = arrays[key]
        if array.ndim == 2 and array.shape[1] == ANT_WITH_CONTACTS and not np.any(array[:, ANT_WITHOUT:]):
            arrays[key] = array[:, :ANT_WITHOUT]

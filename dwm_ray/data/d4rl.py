"""D4RL's HDF5 v2 layout (arXiv 2004.07219), and D4RL's own files: where they lie and where they come from.

An episode ends on a terminal or a timeout; only a terminal stops bootstrapping. D4RL's MuJoCo v2 data go with
Gymnasium's -v4 environments (Hopper, Walker2d and Ant behave otherwise in -v5).
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import h5py
import numpy as np

from dwm_ray.data.checks import OPTIONAL, REQUIRED, Arrays, episodes_from
from dwm_ray.data.download import Progress, fetch
from dwm_ray.tasks.spaces import spaces_of
from dwm_ray.tasks.table import BODIES, QUALITIES, check_name
from dwm_ray.types import DataCard, Episodes

URL = "https://rail.eecs.berkeley.edu/datasets/offline_rl/gym_mujoco_v2"
OWN_NAME = re.compile(rf"({'|'.join(BODIES)})_({'|'.join(q.replace('-', '_') for q in QUALITIES)})-v2")
ANT_WITH_CONTACTS, ANT_WITHOUT = 111, 27


def read(path: Path, name: str, source: str, env_id: str | None) -> Episodes:
    """Episodes of an HDF5 file. The environment is the one that the file names, else `env_id`, else that of D4RL's
    own file names. ValueError names the file and what is wrong with it."""
    arrays, named = _contents(path)
    env_id = environment(path, named, env_id)
    _drop_dead_contacts(arrays, env_id)
    return episodes_from(arrays, DataCard(name, source, str(path), env_id, fingerprint=""))


def environment(path: Path, named: str | None, asked: str | None) -> str:
    """The environment id of a file that names `named` itself while `asked` is the user's `data.env`. Gymnasium imports
    the module of an id 'MODULE:NAME': what code runs here, a file does not decide."""
    if named and ":" in named and named != asked:
        raise ValueError(
            f"{path}: names {named!r}, which would import the module {named.partition(':')[0]!r}; where you trust it, "
            f"say so by --data.env {named}"
        )
    if named and asked and named != asked:
        raise ValueError(f"{path}: was recorded in {named}, but data.env asks for {asked}; leave data.env out")
    own = OWN_NAME.fullmatch(path.stem)
    found = named or asked or (f"{BODIES[own.group(1)].env}-v4" if own else None)
    if not found:
        raise ValueError(f"{path}: does not name its environment; give data.env, such as --data.env HalfCheetah-v5")
    return found


def file_name(task: str) -> str:
    """'halfcheetah-medium-replay' -> 'halfcheetah_medium_replay-v2.hdf5'."""
    return f"{task.replace('-', '_')}-v2.hdf5"


def folder() -> Path:
    """Where D4RL keeps its files: $D4RL_DATASET_DIR, else ~/.d4rl/datasets."""
    return Path(os.environ.get("D4RL_DATASET_DIR") or Path.home() / ".d4rl" / "datasets")


def find(task: str) -> Path | None:
    """D4RL's own file of a task on this machine."""
    path = folder() / file_name(task)
    return path if path.is_file() else None


def download(task: str, progress: Progress, url: str = URL) -> Path:
    """Fetch D4RL's own file of a task into `folder()`, resuming an earlier try; the finished file's path."""
    check_name(task)
    return fetch(f"{url}/{file_name(task)}", folder() / file_name(task), progress)


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
        raise ValueError(f"{path}: cannot be read as HDF5, is it complete? ({error})") from error


def _check_own(path: Path, file: h5py.File, keys: list[str]) -> None:
    """ValueError where an array lies in another file, which HDF5 would open wherever on this machine it is."""
    for key in keys:
        if file[key].file.filename != file.filename or file[key].external or file[key].is_virtual:
            raise ValueError(f"{path}: {key!r} is kept in another file; expected all arrays in this one")


def _drop_dead_contacts(arrays: Arrays, env_id: str) -> None:
    """D4RL recorded Ant with 84 contact forces that its simulator left at zero; Ant-v4 does not report them."""
    if not env_id.startswith("Ant-") or spaces_of(env_id).obs_size != ANT_WITHOUT:
        return
    for key in {"observations", "next_observations"} & arrays.keys():
        array = arrays[key]
        if array.ndim == 2 and array.shape[1] == ANT_WITH_CONTACTS and not np.any(array[:, ANT_WITHOUT:]):
            arrays[key] = array[:, :ANT_WITHOUT]

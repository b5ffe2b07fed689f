"""D4RL's HDF5 v2 layout (arXiv 2004.07219), and the location and download of D4RL's own files.

An episode ends on a terminal or a timeout; only a terminal stops bootstrapping. D4RL's MuJoCo v2 data belong to
Gymnasium's -v4 environments (Hopper, Walker2d and Ant differ in -v5).
"""

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from dwm_ray.data import download as downloads
from dwm_ray.data import mapped
from dwm_ray.data.checks import OPTIONAL, REQUIRED, Arrays, episodes_from
from dwm_ray.data.chunks import chunks
from dwm_ray.data.environment import ATTRIBUTES, NamedEnvironment, environment_id, named_by, with_environment
from dwm_ray.errors import one_line
from dwm_ray.runs.home import home_folder
from dwm_ray.tasks.environments import bare_id, spaces_of
from dwm_ray.tasks.table import LOCOMOTION, QUALITIES, check_name
from dwm_ray.types import DataCard, Episodes

URL = "https://rail.eecs.berkeley.edu/datasets/offline_rl/gym_mujoco_v2"
OWN_NAME = re.compile(rf"({'|'.join(LOCOMOTION)})_({'|'.join(q.replace('-', '_') for q in QUALITIES)})-v2")
FOLDER = "D4RL_DATASET_DIR"
ANT_WITH_CONTACTS, ANT_WITHOUT = 111, 27


def read(path: Path, name: str, source: str, env_id: str | None, env_kwargs: str | None = None) -> Episodes:
    """Return the episodes of an HDF5 file; `env_id` overrides the file's environment."""
    card, num_bytes = DataCard(name, source, str(path), env_id, ""), _num_bytes(path)
    return mapped.converted(card, env_kwargs, [path], num_bytes, lambda: _read(path, card, env_kwargs))


def _read(path: Path, card: DataCard, env_kwargs: str | None) -> Episodes:
    arrays, attributes = _contents(path, card.env_id)
    card = card_of(card, named_by(card.path, attributes, card.env_id), env_kwargs)
    _drop_unused_contacts(arrays, card)
    return episodes_from(arrays, card)


def card_of(card: DataCard, named: NamedEnvironment | None, env_kwargs: str | None) -> DataCard:
    """Return the card with its environment: the requested one (`card.env_id`), or the one that the file names.

    The names of D4RL's own files imply an environment.
    """
    if named is None and (match := OWN_NAME.fullmatch(Path(card.path).stem)):
        named = NamedEnvironment(f"{LOCOMOTION[match[1]].env_id}-v4")
    card = replace(card, env_id=environment_id(card.path, named.env_id if named else None, card.env_id))
    return with_environment(card, named, env_kwargs)


def file_name(task: str) -> str:
    """Return D4RL's file name: 'halfcheetah-medium-replay' -> 'halfcheetah_medium_replay-v2.hdf5'."""
    return f"{task.replace('-', '_')}-v2.hdf5"


def folder() -> Path:
    """Return the folder of D4RL's files: $D4RL_DATASET_DIR, else ~/.d4rl/datasets."""
    return Path(os.environ.get(FOLDER) or home_folder() / ".d4rl" / "datasets")


def find(task: str) -> Path | None:
    """Return D4RL's own file of a task on this machine; None without one or without access to the home folder."""
    path = folder() / file_name(task)
    return path if (os.environ.get(FOLDER) or os.access(path, os.F_OK)) and path.is_file() else None


def download(task: str, on_progress: downloads.OnProgress, url: str = URL) -> Path:
    """Download D4RL's own file of a task into `folder()`, continuing an earlier attempt; return its path."""
    check_name(task)
    return downloads.fetch(f"{url}/{file_name(task)}", folder() / file_name(task), on_progress)


def _contents(path: Path, env_id: str | None) -> tuple[Arrays, dict[str, str]]:
    if path.is_dir():
        raise ValueError(f"{path}: is a folder; expected an HDF5 file, or a folder of Parquet files")
    if not path.exists():
        raise ValueError(f"{path}: no such file")
    with reading_hdf5(str(path)), h5py.File(path, "r") as file:
        keys = [key for key in (*REQUIRED, *OPTIONAL) if key in file]
        _check_own(path, file, keys)
        array = _mapped_array if sum(file[key].nbytes for key in keys) >= mapped.LARGE else _array
        return {key: array(file[key]) for key in keys}, _attributes(path, file.attrs, env_id)


@contextmanager
def reading_hdf5(origin: str) -> Iterator[None]:
    """Turn errors of h5py into ValueError naming the data."""
    try:
        yield
    except (OSError, RuntimeError, KeyError) as error:
        raise ValueError(f"{origin}: cannot be read as HDF5 ({one_line(error)}); expected {_remedy(error)}") from error


def _num_bytes(path: Path) -> int:
    """Return the bytes of the arrays in a file; 0 if it cannot be read, which is reported later."""
    try:
        with h5py.File(path, "r") as file:
            return sum(value.nbytes for value in file.values() if isinstance(value, h5py.Dataset))
    except (OSError, RuntimeError, KeyError):
        return 0


def _array(dataset: h5py.Dataset) -> np.ndarray:
    array: np.ndarray = dataset[()]
    return array


def _mapped_array(dataset: h5py.Dataset) -> np.ndarray:
    """Return the content of a dataset as a mapped file with 32 bits per number."""
    out = mapped.scratch(dataset.shape, mapped.file_type(dataset.dtype))
    for chunk in chunks(len(out)):
        out[chunk] = dataset[chunk]
    return out


def _remedy(error: Exception) -> str:
    if isinstance(error, PermissionError):
        return "a file that you may read"
    if "unable to lock" in str(error):
        return (
            "no program that has the file open for writing; if there is none, the file system cannot lock files, and "
            "HDF5_USE_FILE_LOCKING=FALSE reads it"
        )
    return "a complete file"


def _attributes(path: Path, attrs: Mapping[str, Any], env_id: str | None) -> dict[str, str]:
    """Return the attributes that name the environment and its options."""
    texts = {key: _text(path, key, attrs.get(key), env_id is None) for key in ATTRIBUTES}
    return {key: text for key, text in texts.items() if text is not None}


def _text(path: Path, key: str, value: Any, is_needed: bool) -> str | None:
    """Return an attribute stored as text, bytes or an array with one entry; None if it is empty."""
    values = [] if value is None or isinstance(value, h5py.Empty) else np.ravel(value).tolist()
    try:
        texts = [text.decode() if isinstance(text, bytes) else text for text in values]
    except UnicodeDecodeError:
        texts = [None]
    if texts and (len(texts) > 1 or not isinstance(texts[0], str)):
        if is_needed:
            raise ValueError(f"{path}: attribute {key!r} is {value!r}; expected {ATTRIBUTES[key]} as text")
        return None
    return texts[0].strip() or None if texts else None


def _check_own(path: Path, file: h5py.File, keys: list[str]) -> None:
    """Raise ValueError for groups, and for arrays in other files, because HDF5 would open any file on this machine."""
    for key in keys:
        if isinstance(file[key], h5py.Group):
            raise ValueError(f"{path}: {key!r} is a group of {', '.join(file[key]) or 'nothing'}; expected an array")
        if file[key].file.filename != file.filename or file[key].external or file[key].is_virtual:
            raise ValueError(f"{path}: {key!r} is stored in another file; expected all arrays in this one")


def _drop_unused_contacts(arrays: Arrays, card: DataCard) -> None:
    """Remove the 84 contact forces that are always zero in D4RL's Ant data and absent from Ant-v4."""
    if card.env_id is None or not bare_id(card.env_id).startswith("Ant-"):
        return
    if spaces_of(card.env_id, card.env_options).obs_size != ANT_WITHOUT:
        return
    for key in {"observations", "next_observations"} & arrays.keys():
        array = arrays[key]
        if array.ndim == 2 and array.shape[1] == ANT_WITH_CONTACTS and not np.any(array[:, ANT_WITHOUT:]):
            arrays[key] = array[:, :ANT_WITHOUT]

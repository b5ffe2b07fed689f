"""Datasets larger than memory, as memory-mapped files.

A large dataset is converted once per machine, into a folder below $DWM_RAY_CACHE (default ~/.cache/dwm_ray). All
processes map its files: the operating system holds one copy of the pages in use and drops them when memory is needed.
"""

import fcntl
import math
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import TypeAdapter

from dwm_ray.data.chunks import chunks
from dwm_ray.data.content import ARRAYS, with_fingerprint
from dwm_ray.options import fingerprint
from dwm_ray.runs.home import home_folder
from dwm_ray.types import DataCard, Episodes, Spaces

LARGE = 1 << 30
"""Minimum size in bytes of a dataset that is mapped."""
VERSION = 1
CARD, SPACES = TypeAdapter(DataCard), TypeAdapter(Spaces)


def cache_folder() -> Path:
    """Return the folder of converted datasets."""
    return Path(os.environ.get("DWM_RAY_CACHE") or home_folder() / ".cache" / "dwm_ray")


def scratch(shape: tuple[int, ...], dtype: np.dtype[Any] | type) -> np.ndarray:
    """Return a writable array in an unnamed file that is deleted with the array."""
    try:
        with tempfile.TemporaryFile(dir=_created(cache_folder())) as file:
            _reserve(file.fileno(), math.prod(shape) * np.dtype(dtype).itemsize)
            return np.memmap(file, dtype, "r+", shape=shape)
    except OSError as error:
        raise _no_room(error) from error


def owned(array: np.ndarray) -> np.ndarray:
    """Return an array that may be modified: a mapped array itself, because it has no other user, else a copy."""
    return array if isinstance(array, np.memmap) else array.copy()


def converted(
    card: DataCard, env_kwargs: str | None, files: Sequence[Path], num_bytes: int, read: Callable[[], Episodes]
) -> Episodes:
    """Return the result of `read`, converted to mapped files if the arrays of `files` have `LARGE` bytes or more.

    `card` holds the name, source, path and requested environment of the data.
    """
    if num_bytes < LARGE:
        return read()
    episodes = mapped_episodes(source_key(files, card.env_id, env_kwargs), read)
    return replace(episodes, card=replace(episodes.card, name=card.name, source=card.source, path=card.path))


def source_key(files: Sequence[Path], *request: str | None) -> str:
    """Return the name of the conversion of files in their current state, read with this request."""
    stats = [(str(path.resolve()), path.stat()) for path in files]
    return fingerprint([VERSION, *([name, stat.st_size, stat.st_mtime_ns] for name, stat in stats), *request])


def joined(origin: str, batches: Iterable[dict[str, np.ndarray]], num_rows: int) -> dict[str, np.ndarray]:
    """Concatenate the rows of batches, in unnamed files if they are `LARGE`.

    Raises ValueError naming `origin` if there are no rows, or if rows have different shapes or kinds of numbers.
    """
    if num_rows == 0:
        raise ValueError(f"{origin}: holds no rows; expected at least one")
    out: dict[str, np.ndarray] = {}
    start = 0
    for batch in batches:
        out = out or _empty(batch, num_rows)
        for key, array in batch.items():
            same_kind = np.can_cast(array.dtype, out[key].dtype, "same_kind")
            if array.shape[1:] != out[key].shape[1:] or not same_kind:
                raise ValueError(
                    f"{origin}: {key!r} has rows of shape {out[key].shape[1:]} ({out[key].dtype}) and of "
                    f"{array.shape[1:]} ({array.dtype}); expected equal shapes and types"
                )
            out[key][start : start + len(array)] = array
        start += len(next(iter(batch.values()), ()))
    return out


def row_bytes(batch: dict[str, np.ndarray]) -> int:
    """Return the bytes of one row in all arrays."""
    return sum(math.prod(array.shape[1:]) * array.itemsize for array in batch.values())


def _empty(batch: dict[str, np.ndarray], num_rows: int) -> dict[str, np.ndarray]:
    """Return arrays for `num_rows` rows of the same kind as a batch; arrays in files have 32 bits per number."""
    shapes = {key: (num_rows, *array.shape[1:]) for key, array in batch.items()}
    if num_rows * row_bytes(batch) < LARGE:
        return {key: np.empty(shape, batch[key].dtype) for key, shape in shapes.items()}
    return {key: scratch(shape, file_type(batch[key].dtype)) for key, shape in shapes.items()}


def file_type(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Return the data type for numbers in a file."""
    return np.dtype(np.float32) if dtype.kind == "f" else dtype


def mapped_episodes(key: str, read: Callable[[], Episodes]) -> Episodes:
    """Return converted episodes; convert the result of `read` first if no process has done so.

    The files are compared with the fingerprint of the original before they count as complete. Raises ValueError as
    `read` does, or if they cannot be written.
    """
    folder = _complete(cache_folder() / key, lambda temporary: _write(temporary, read()))
    arrays: dict[str, Any] = {name: _open(folder / f"{name}.npy") for name in ARRAYS}
    card, spaces = (folder / "card.json").read_bytes(), (folder / "spaces.json").read_bytes()
    return Episodes(**arrays, card=CARD.validate_json(card), spaces=SPACES.validate_json(spaces))


def new_rows(episodes: Episodes, name: str, shape: tuple[int, int], fill: Callable[[np.ndarray], None]) -> np.ndarray:
    """Return float32 rows that `fill` writes; rows of mapped episodes are in a file, which one process writes."""
    if not isinstance(episodes.obs, np.memmap) or episodes.obs.filename is None:
        rows = np.empty(shape, np.float32)
        fill(rows)
        return rows

    def write(temporary: Path) -> None:
        rows = _new(temporary / "rows.npy", np.float32, shape)
        fill(rows)
        rows.flush()

    folder = Path(episodes.obs.filename).parent
    return _open(_complete(folder.with_name(f"{folder.name}-{name}"), write) / "rows.npy")


def _open(path: Path) -> np.ndarray:
    """Map a file; changes are private to the process."""
    array: np.ndarray = np.load(path, mmap_mode="c", allow_pickle=False)
    return array


def _complete(folder: Path, write: Callable[[Path], None]) -> Path:
    """Return a folder completed by `write`: one process writes, others wait; incomplete folders are never used."""
    if folder.is_dir():
        return folder
    try:
        with (_created(folder.parent) / f"{folder.name}.lock").open("w", encoding="utf-8") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not folder.is_dir():
                temporary = folder.with_name(f"{folder.name}.part")
                shutil.rmtree(temporary, ignore_errors=True)
                temporary.mkdir()
                write(temporary)
                temporary.rename(folder)
    except OSError as error:
        raise _no_room(error) from error
    return folder


def _no_room(error: OSError) -> ValueError:
    return ValueError(
        f"{cache_folder()}: cannot hold a converted dataset ({error.strerror}); expected DWM_RAY_CACHE to name "
        "a folder on a disk with room for eight times the data"
    )


def _new(path: Path, dtype: np.dtype[Any] | type, shape: tuple[int, ...]) -> np.memmap[Any, Any]:
    """Create a file of an array and map it."""
    out = np.lib.format.open_memmap(path, "w+", dtype, shape)
    with path.open("r+b") as file:
        _reserve(file.fileno(), path.stat().st_size)
    return out


def _reserve(descriptor: int, num_bytes: int) -> None:
    """Raise OSError if the disk is full, instead of receiving a signal when mapped pages are written."""
    if num_bytes:
        os.posix_fallocate(descriptor, 0, num_bytes)


def _created(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _write(folder: Path, episodes: Episodes) -> None:
    for name in ARRAYS:
        array = getattr(episodes, name)
        out = _new(folder / f"{name}.npy", array.dtype, array.shape)
        for chunk in chunks(len(array)):
            out[chunk] = array[chunk]
        out.flush()
    written: dict[str, Any] = {name: _open(folder / f"{name}.npy") for name in ARRAYS}
    if with_fingerprint(replace(episodes, **written)).card.fingerprint != episodes.card.fingerprint:
        raise OSError(5, "the files differ from the data")
    (folder / "card.json").write_bytes(CARD.dump_json(episodes.card))
    (folder / "spaces.json").write_bytes(SPACES.dump_json(episodes.spaces))

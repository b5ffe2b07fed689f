"""Layout of a run folder; the documentation shows it as a tree.

A run without remote storage consists of its folder, which must be visible on all nodes. With it, the driver's folder
is a synchronised copy without blocks and, by default, without weights, and each node works in a private folder.
"""

from __future__ import annotations

import errno
import json
import logging
import re
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from dwm_ray.runs.environment import environment
from dwm_ray.runs.storage import TRIES, Storage
from dwm_ray.runs.sync import synced_folder, work_folder
from dwm_ray.runs.tensor_files import write_json

STORAGE_FILE = "storage.json"
"""File in a synchronised copy that contains the address of the storage."""
NOT_SYNCED = re.compile(r"(.*/)?(ray/.*|tensorboard/.*|block-\d+\.parquet|\.check-.*)")
WEIGHTS = ".safetensors"
logger = logging.getLogger(__name__)


class RunFailed(Exception):  # noqa: N818 - it names what happened
    """Failure of a run without a result; the message gives the reason on one line."""


@dataclass(frozen=True)
class RunFolder:
    """Paths in a run folder, and the storage of the run, if any."""

    root: Path
    storage: Storage | None = None

    @staticmethod
    def create(parent: Path, task: str, storage: Storage | None = None) -> RunFolder:
        """Create a folder named after task and time, locally and in the storage; raise ValueError on failure."""
        name = f"{re.sub('[^A-Za-z0-9._-]', '-', task)}-{time.strftime('%Y%m%d-%H%M%S')}"
        name += f"-{secrets.token_hex(3)}" if storage else ""  # other machines may create runs in the same second
        try:
            root = _new_folder(parent, name)
        except OSError as error:
            raise ValueError(f"--output {parent}: cannot create a run folder there ({error.strerror})") from error
        run = RunFolder(root.resolve(), storage.child(root.name) if storage else None)
        run._write_storage_file()
        return run

    @staticmethod
    def open(address: Path | str, parent: Path | None = None) -> RunFolder:
        """Open a run at a path, or copy one from remote storage to `parent`; raise ValueError if there is none."""
        if "://" in str(address):
            return _open_stored(Storage.parse(str(address)), parent)
        root = Path(address)
        if not (root / "config.json").is_file():
            raise ValueError(f"{root} is not a run folder: it has no config.json")
        _refuse_old(root)
        return RunFolder.of_path(root)

    @staticmethod
    def of_path(root: Path) -> RunFolder:
        """Return the run of a local folder, with its storage if the folder is a synchronised copy."""
        stored = read_json(root / STORAGE_FILE)
        return RunFolder(root.resolve(), Storage.parse(stored["storage"]) if stored else None)

    @staticmethod
    def synced_copy(storage: Storage, root: Path) -> RunFolder:
        """Make a folder the (empty) synchronised copy of remote storage; raise ValueError if it has other content."""
        if root.exists() and any(root.iterdir()) and RunFolder.of_path(root).storage != storage:
            raise ValueError(f"{root} exists and is not a copy of {storage}; choose another --output")
        root.mkdir(parents=True, exist_ok=True)
        run = RunFolder(root.resolve(), storage)
        run._write_storage_file()
        return run

    @staticmethod
    def at(address: str) -> RunFolder:
        """Return the run at an `address`, for a process on any node."""
        if "://" not in address:
            return RunFolder(Path(address))
        storage = Storage.parse(address)
        return RunFolder(work_folder(storage), storage)

    @property
    def address(self) -> str:
        """Address of the storage, or path of the folder."""
        return self.storage.address if self.storage else str(self.root)

    @property
    def name(self) -> str:
        return self.storage.name if self.storage else self.root.name

    @property
    def shared(self) -> Storage:
        """Files that all nodes see."""
        return self.storage or Storage.folder(self.root)

    def push(self, *paths: Path, tries: int = TRIES) -> None:
        """Upload changed files, including those in folders, to the storage."""
        if self.storage:
            synced_folder(self.root, self.storage).push(paths, tries)

    def push_record(self) -> None:
        """Upload the files of the run folder, without subfolders."""
        self.push(*(path for path in sorted(self.root.glob("*")) if path.is_file() and path.name != STORAGE_FILE))

    @contextmanager
    def writing(self, *paths: Path) -> Iterator[None]:
        """Upload the files written in this context when it ends; until then, nothing is fetched."""
        if self.storage is None:
            yield
            return
        with synced_folder(self.root, self.storage).lock:
            yield
            self.push(*paths)

    def pull(self, folder: Path | None = None, weights: bool = False) -> None:
        """Fetch changed files of the run or of one folder, without blocks, Ray's files and, by default, weights."""
        if self.storage:
            below = "" if folder is None else folder.relative_to(self.root).as_posix()
            synced_folder(self.root, self.storage).pull(
                below, lambda name: not NOT_SYNCED.match(name) and (weights or not name.endswith(WEIGHTS))
            )

    def has(self, file: Path) -> bool:
        """Return whether a file exists in the shared place that all nodes see."""
        return self.shared.exists(file.relative_to(self.root).as_posix())

    def remove(self, folder: Path) -> None:
        """Delete a folder locally and in the storage."""
        if self.storage:
            for entry in self.storage.files(folder.relative_to(self.root).as_posix()):
                self.storage.delete(entry.name)
        if folder.is_dir():
            shutil.rmtree(folder)

    @property
    def has_begun(self) -> bool:
        """Whether a trial or a world model has started, in this run or in a run below this folder."""
        return any(any(self.root.rglob(name)) for name in ("trials/*/status.json", "world_models/*/*"))

    def discard(self) -> None:
        """Delete the whole run, locally and in the storage."""
        if self.storage:
            for entry in self.storage.files():
                self.storage.delete(entry.name)
        shutil.rmtree(self.root)

    def fetched(self, folder: Path) -> Path:
        """Fetch a folder with its weights, and return it."""
        self.pull(folder, weights=True)
        return folder

    def _write_storage_file(self) -> None:
        if self.storage:
            write_json(self.root / STORAGE_FILE, {"storage": self.storage.address})

    @property
    def config(self) -> Path:
        return self.root / "config.json"

    @property
    def counters(self) -> Path:
        return self.root / "counters.json"

    @property
    def sweep(self) -> Path:
        return self.root / "sweep.json"

    @property
    def ray(self) -> Path:
        """Files of Ray Train and Tune: checkpoints for resuming."""
        return self.root / "ray"

    def trial(self, trial_id: str) -> Path:
        return self.root / "trials" / trial_id

    def world_model(self, fingerprint: str) -> Path:
        return self.root / "world_models" / fingerprint

    def trials(self) -> list[Path]:
        return subfolders(self.root / "trials")

    def record_environment(self) -> None:
        """Write `environment.json`: versions and hardware."""
        write_json(self.root / "environment.json", environment())


def _new_folder(parent: Path, name: str) -> Path:
    """Create a folder with this name, or with the first free one; other programs may do so at the same time."""
    parent.mkdir(parents=True, exist_ok=True)
    for suffix in ("", *(f"-{number}" for number in range(2, 1000))):
        with suppress(FileExistsError):
            (parent / (name + suffix)).mkdir()
            return parent / (name + suffix)
    raise FileExistsError(errno.EEXIST, f"{name} and 998 more names are taken")


def _open_stored(storage: Storage, parent: Path | None) -> RunFolder:
    if not storage.exists("config.json"):
        raise ValueError(f"{storage} is not a run folder: it has no config.json")
    run = RunFolder.synced_copy(storage, parent / storage.name if parent else work_folder(storage.child("seen")))
    run.pull()
    _refuse_old(run.root)
    return run


def _refuse_old(root: Path) -> None:
    """Raise ValueError for a damaged run, or one of an old version, whose options and files had other names."""
    config = root / "config.json"
    try:
        record = json.loads(config.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{config}: {error}; expected the JSON that a run writes at its start") from error
    options = record.get("run", {}) if isinstance(record, dict) else {}
    if "lead_blocks" in options.get("cluster", {}):  # the former name of `cluster.prefetch_blocks`
        raise ValueError(f"{config}: written by an older version of dwm_ray; expected a run of this version")


def subfolders(folder: Path) -> list[Path]:
    """Return the folders in a folder by name; none if it does not exist."""
    return sorted(path for path in folder.glob("*") if path.is_dir())


def read_json(path: Path) -> Any:
    """Read a JSON file of a run folder; None if it does not exist or was truncated by a crash."""
    if not path.is_file():
        return None
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        _warn_once(f"{path}: not a complete JSON file, ignored ({error})")
        return None


@lru_cache
def _warn_once(warning: str) -> None:
    """Log a warning only once, because files are read repeatedly while a run is shown."""
    logger.warning(warning)


def set_status(folder: Path, status: str, **more: Any) -> None:
    """Write `status.json` of a trial: running, done, stopped (by the scheduler) or failed."""
    write_json(folder / "status.json", {"status": status, **more})


def status_of(folder: Path) -> str:
    """Return the status of a trial; 'pending' without a status file."""
    return str((read_json(folder / "status.json") or {"status": "pending"})["status"])

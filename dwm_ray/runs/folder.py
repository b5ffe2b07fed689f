"""Where everything of a run lies; the README shows it as a tree.

The only place that knows the names of files in a run folder. A folder that exists is never written into by a new run.
Without a storage the folder is the run, and all nodes see it. With one the run is kept there: the driver's folder is a
mirror of it without blocks and, unless they are asked for, weights, and each node works in a folder of its own.
"""

from __future__ import annotations

import json
import logging
import platform
import re
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from dwm_ray.runs.storage import TRIES, Storage
from dwm_ray.runs.sync import mirror, work_folder
from dwm_ray.runs.tensor_files import write_json

LOG = logging.getLogger(__name__)
LIBRARIES = ("dwm-ray", "ray", "torch", "numpy", "gymnasium", "mujoco", "minari", "pyarrow", "pydantic", "h5py")


KEPT = "storage.json"
"""File of a mirror that says what it is a mirror of."""
SKIPPED = re.compile(r"(.*/)?(ray/.*|tensorboard/.*|block-\d+\.parquet|\.check-.*)")
WEIGHTS = ".safetensors"


class RunFailed(Exception):  # noqa: N818 - it names what happened
    """A run ended without a result; the text says why, on one line."""


@dataclass(frozen=True)
class RunFolder:
    """Paths below one run's root, and the storage that the run is kept in, if it is not the folder itself."""

    root: Path
    storage: Storage | None = None

    @staticmethod
    def create(parent: Path, task: str, storage: Storage | None = None) -> RunFolder:
        """A new folder named by task and time, to be kept in a folder of that name in `storage`. ValueError where the
        parent cannot be written."""
        name = f"{re.sub('[^A-Za-z0-9._-]', '-', task)}-{time.strftime('%Y%m%d-%H%M%S')}"
        name += f"-{secrets.token_hex(3)}" if storage else ""  # other machines make runs there in the same second
        taken = [parent / (name + suffix) for suffix in ("", *(f"-{n}" for n in range(2, 100)))]
        root = next(path for path in taken if not path.exists())
        try:
            root.mkdir(parents=True)
        except OSError as error:
            raise ValueError(f"--output {parent}: cannot make a run folder there ({error.strerror})") from error
        run = RunFolder(root.resolve(), storage.child(root.name) if storage else None)
        run._remember_storage()
        return run

    @staticmethod
    def open(where: Path | str, parent: Path | None = None) -> RunFolder:
        """A run at a path or at an address in a storage, which is mirrored in `parent` (where None, in a folder of this
        user's temporary ones). ValueError where there is none."""
        if "://" in str(where):
            return _mirrored(Storage.parse(str(where)), parent)
        root = Path(where)
        if not (root / "config.json").is_file():
            raise ValueError(f"{root} is no run folder: it has no config.json")
        return RunFolder.remembered(root)

    @staticmethod
    def remembered(root: Path) -> RunFolder:
        """A folder of this machine, and what it is a mirror of."""
        known = read_json(root / KEPT)
        return RunFolder(root.resolve(), Storage.parse(known["storage"]) if known else None)

    @staticmethod
    def mirroring(storage: Storage, root: Path) -> RunFolder:
        """A folder as a mirror of a storage, with nothing fetched yet. ValueError where it holds something else."""
        if root.exists() and any(root.iterdir()) and RunFolder.remembered(root).storage != storage:
            raise ValueError(f"{root} is there and no mirror of {storage}; choose another --output")
        root.mkdir(parents=True, exist_ok=True)
        run = RunFolder(root.resolve(), storage)
        run._remember_storage()
        return run

    @staticmethod
    def at(address: str) -> RunFolder:
        """The run of an `address`, as a process on any node works with it."""
        if "://" not in address:
            return RunFolder(Path(address))
        storage = Storage.parse(address)
        return RunFolder(work_folder(storage), storage)

    @property
    def address(self) -> str:
        """What `at` finds the run by, on any node."""
        return self.storage.address if self.storage else str(self.root)

    @property
    def where(self) -> str:
        """What a person goes on with: the storage, or the folder."""
        return self.storage.address if self.storage else str(self.root)

    @property
    def name(self) -> str:
        return self.storage.name if self.storage else self.root.name

    @property
    def shared(self) -> Storage:
        """The files that all nodes see."""
        return self.storage or Storage.folder(self.root)

    def push(self, *paths: Path, tries: int = TRIES) -> None:
        """Send files, or folders, that changed here to the storage."""
        if self.storage:
            mirror(self.root, self.storage).push(paths, tries)

    def push_record(self) -> None:
        """Send the run's own files, those that lie in no folder of it."""
        self.push(*(path for path in sorted(self.root.glob("*")) if path.is_file() and path.name != KEPT))

    @contextmanager
    def writing(self, *paths: Path) -> Iterator[None]:
        """What is written to these within is sent at the end; nothing is fetched into its place meanwhile."""
        if self.storage is None:
            yield
            return
        with mirror(self.root, self.storage).lock:
            yield
            self.push(*paths)

    def pull(self, folder: Path | None = None, weights: bool = False) -> None:
        """Fetch what has changed in the storage, in all of the run or below one folder; never blocks of streams nor
        Ray's files, and weights only if they are asked for."""
        if self.storage:
            below = "" if folder is None else folder.relative_to(self.root).as_posix()
            mirror(self.root, self.storage).pull(below, lambda name: _is_wanted(name, weights))

    def has(self, file: Path) -> bool:
        """Is this file where all nodes see it?"""
        return self.shared.exists(file.relative_to(self.root).as_posix())

    def remove(self, folder: Path) -> None:
        """Delete a folder, in the storage too."""
        if self.storage:
            for entry in self.storage.files(folder.relative_to(self.root).as_posix()):
                self.storage.delete(entry.name)
        if folder.is_dir():
            shutil.rmtree(folder)

    def fetched(self, folder: Path) -> Path:
        """A folder with all that the storage has of it, weights too."""
        self.pull(folder, weights=True)
        return folder

    def _remember_storage(self) -> None:
        if self.storage:
            write_json(self.root / KEPT, {"storage": self.storage.address})

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
        """Ray Train's and Tune's own files: their checkpoints for resuming."""
        return self.root / "ray"

    def trial(self, trial_id: str) -> Path:
        return self.root / "trials" / trial_id

    def world_model(self, fingerprint: str) -> Path:
        return self.root / "world_models" / fingerprint

    def trials(self) -> list[Path]:
        return sorted(path for path in (self.root / "trials").glob("*") if path.is_dir())

    def record_environment(self) -> None:
        """`environment.json`: versions and hardware."""
        versions = {name.replace("dwm-ray", "dwm_ray"): _version(name) for name in LIBRARIES}
        gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
        cpus = torch.get_num_threads()
        machine = {"python": platform.python_version(), "platform": platform.platform(), "cpus": cpus, "gpus": gpus}
        write_json(self.root / "environment.json", {**machine, **versions})


def _mirrored(storage: Storage, parent: Path | None) -> RunFolder:
    """The mirror of a run in a storage, with all but weights and blocks. ValueError where there is no run."""
    if not storage.exists("config.json"):
        raise ValueError(f"{storage} is no run folder: it has no config.json")
    run = RunFolder.mirroring(storage, parent / storage.name if parent else work_folder(storage.child("seen")))
    run.pull()
    return run


def _is_wanted(name: str, weights: bool) -> bool:
    return not SKIPPED.match(name) and (weights or not name.endswith(WEIGHTS))


def _version(library: str) -> str | None:
    try:
        return metadata.version(library)
    except metadata.PackageNotFoundError:
        return None


def read_json(path: Path) -> Any:
    """A JSON file of a run folder; None where there is none, or only a part that a crash of the machine left."""
    if not path.is_file():
        return None
    try:
        return json.loads(path.read_text())
    except ValueError as error:
        _tell_once(f"{path} is no whole JSON file and passed over ({error})")
        return None


@lru_cache
def _tell_once(warning: str) -> None:
    """A file is looked at again and again while a run is watched."""
    LOG.warning(warning)


def set_status(folder: Path, status: str, **more: Any) -> None:
    """`status.json` of a trial: running, done, stopped (by the scheduler), failed."""
    write_json(folder / "status.json", {"status": status, **more})


def status_of(folder: Path) -> str:
    """The last status of a trial; 'pending' before its first."""
    return str((read_json(folder / "status.json") or {"status": "pending"})["status"])

"""A run folder here and the same run in a storage: what was written here goes there, what is missing here is fetched.

The promise of the files that say "whole" (`LAST`) holds on both sides: they are sent and fetched after all others, so
who sees one finds what it speaks of. Only files that changed travel. One process writes a file at a time: learners,
samplers and world-model workers have folders of their own (`work_folder`), the driver has the run's.
"""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache, partial
from pathlib import Path
from typing import TypeVar

from dwm_ray.options import fingerprint
from dwm_ray.runs.storage import TRIES, Entry, Storage, StorageFailed

Item = TypeVar("Item")

LAST = ("config.json", "sweep.json", "stream.json", "status.json")
"""Files that say that what lies beside and below them is whole, in the order in which they are sent."""
PARALLEL = 8
"""Files under way at once: each waits for the storage most of its time."""


class SyncedFolder:
    """One folder and its storage, as one process sees them."""

    def __init__(self, root: Path, storage: Storage) -> None:
        self._root, self._storage = root, storage
        self._sent: dict[str, tuple[int, int]] = {}
        self._seen: dict[str, Entry] = {}
        self.lock = threading.RLock()
        """Held by who writes a file here and sends it: no older one is fetched into its place meanwhile."""

    def push(self, paths: Iterable[Path], tries: int = TRIES) -> None:
        """Send files, and all files below folders, that changed since they were sent."""
        with self.lock:
            files = [file for path in paths for file in ([path] if path.is_file() else sorted(path.rglob("*")))]
            todo = [file for file in files if file.is_file() and not file.name.endswith(".part") and self._is_new(file)]
            self._in_order(partial(self._send, tries=tries), {self._name(file): file for file in todo})

    def pull(self, below: str = "", wanted: Callable[[str], bool] = lambda name: True) -> None:
        """Fetch what has changed there and is wanted, by its name."""
        with self.lock:
            entries = {entry.name: entry for entry in self._storage.files(below)}
            todo = {name: entry for name, entry in entries.items() if wanted(name) and self._is_news(name, entry)}
            self._in_order(self._fetch, todo)
            self._date_folders(todo)

    @staticmethod
    def _in_order(act: Callable[[str, Item], None], todo: dict[str, Item]) -> None:
        """Act on all, at once as far as the order of `LAST` allows."""
        with ThreadPoolExecutor(PARALLEL) as pool:
            for rank in range(len(LAST) + 2):
                names = [name for name in todo if _rank(name) == rank]
                list(pool.map(act, names, [todo[name] for name in names]))

    def _send(self, name: str, file: Path, tries: int) -> None:
        stamp = _stamp(file)  # before it is read: what is appended meanwhile is sent next time
        self._storage.write(name, file.read_bytes(), tries)
        self._sent[name] = stamp

    def _fetch(self, name: str, entry: Entry) -> None:
        target = self._root / name
        if not target.resolve().is_relative_to(self._root.resolve()):
            raise StorageFailed(f"storage {self._storage}: {name} would be written outside of {self._root}")
        target.parent.mkdir(parents=True, exist_ok=True)
        part = target.with_name(f".{target.name}.{os.getpid()}-{threading.get_ident()}.part")
        part.write_bytes(self._storage.read(name))
        os.utime(part, (entry.changed, entry.changed))
        part.replace(target)
        self._seen[name], self._sent[name] = entry, _stamp(target)

    def _date_folders(self, fetched: dict[str, Entry]) -> None:
        """A folder is as old as its newest file, by the storage's clock: who watches goes by that."""
        for folder in {(self._root / name).parent for name in fetched} - {self._root}:
            newest = max(file.stat().st_mtime for file in folder.iterdir())
            os.utime(folder, (newest, newest))

    def _is_new(self, file: Path) -> bool:
        return self._sent.get(self._name(file)) != _stamp(file)

    def _is_news(self, name: str, entry: Entry) -> bool:
        return self._seen.get(name) != entry or not (self._root / name).exists()

    def _name(self, file: Path) -> str:
        return file.relative_to(self._root).as_posix()


@lru_cache(maxsize=64)
def mirror(root: Path, storage: Storage) -> SyncedFolder:
    """This process's mirror of a folder: it remembers what has been sent and fetched."""
    return SyncedFolder(root, storage)


def work_folder(storage: Storage) -> Path:
    """Where this user's processes on this machine work for a run in a storage; nobody else can read it. ValueError
    where it cannot be made."""
    parent = Path(tempfile.gettempdir()) / f"dwm_ray-{os.getuid()}"
    folder = parent / f"{storage.name}-{fingerprint(storage.address)[:8]}"
    try:
        parent.mkdir(mode=0o700, exist_ok=True)
        if parent.lstat().st_uid != os.getuid() or parent.is_symlink():
            raise ValueError(f"{parent} belongs to somebody else; set TMPDIR to a folder of your own")
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise ValueError(f"{folder}: cannot be made ({error.strerror})") from error
    return folder


def _rank(name: str) -> int:
    """When a file is sent or fetched: weights, what describes them, then the files of `LAST`."""
    file = name.rsplit("/", 1)[-1]
    return LAST.index(file) + 2 if file in LAST else int(file.endswith(".json"))


def _stamp(file: Path) -> tuple[int, int]:
    about = file.stat()
    return about.st_size, about.st_mtime_ns

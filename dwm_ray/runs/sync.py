"""Synchronise a run folder with the same run in remote storage, in both directions.

Files that mark a folder as complete (`MARKERS`) are sent and fetched last, so a marker never exists without the files
that it describes. Only changed files are transferred. Each file is written by one process: learners, samplers and
world-model workers write to private folders (`work_folder`), the driver to the run folder.
"""

import os
import tempfile
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache, partial
from pathlib import Path
from typing import TypeVar

from dwm_ray.options import fingerprint
from dwm_ray.runs.files import atomic_path
from dwm_ray.runs.storage import TRIES, Entry, Storage, StorageFailed

Item = TypeVar("Item")

MARKERS = ("config.json", "sweep.json", "stream.json", "status.json")
"""Files that mark the files next to and below them as complete, in order of transfer."""
NUM_THREADS = 8


class SyncedFolder:
    """Folder and its storage, with a record of the files that this process has transferred."""

    def __init__(self, root: Path, storage: Storage) -> None:
        self._root, self._storage = root, storage
        self._sent: dict[str, tuple[int, int]] = {}
        self._seen: dict[str, Entry] = {}
        self.lock = threading.RLock()
        """Held while a file is written and sent, so that no older version is fetched in between."""

    def push(self, paths: Iterable[Path], tries: int = TRIES) -> None:
        """Send the files, including those in folders, that have changed since they were last sent."""
        with self.lock:
            files = [file for path in paths for file in ([path] if path.is_file() else sorted(path.rglob("*")))]
            named = {self._name(file): file for file in files if file.is_file() and not file.name.endswith(".part")}
            changed = {name: file for name, file in named.items() if self._sent.get(name) != _stamp(file)}
            self._in_order(partial(self._send, tries=tries), changed)

    def pull(self, below: str = "", matches: Callable[[str], bool] = lambda name: True) -> None:
        """Fetch the changed files whose name `matches` accepts."""
        with self.lock:
            entries = {entry.name: entry for entry in self._storage.files(below)}
            changed = {
                name: entry
                for name, entry in entries.items()
                if matches(name) and (self._seen.get(name) != entry or not (self._root / name).exists())
            }
            self._in_order(self._fetch, changed)
            self._set_folder_times(changed)

    @staticmethod
    def _in_order(transfer: Callable[[str, Item], None], items: dict[str, Item]) -> None:
        """Transfer all files, in parallel where the order of `MARKERS` permits it."""
        with ThreadPoolExecutor(NUM_THREADS) as pool:
            for rank in range(len(MARKERS) + 2):
                names = [name for name in items if _rank(name) == rank]
                list(pool.map(transfer, names, [items[name] for name in names]))

    def _send(self, name: str, file: Path, tries: int) -> None:
        stamp = _stamp(file)  # before reading, so that rows appended meanwhile are sent next time
        self._storage.write(name, file.read_bytes(), tries)
        self._sent[name] = stamp

    def _fetch(self, name: str, entry: Entry) -> None:
        target = self._root / name
        if not target.resolve().is_relative_to(self._root.resolve()):
            raise StorageFailed(f"storage {self._storage}: {name} would be written outside {self._root}")
        with atomic_path(target, shared=True) as temporary:
            temporary.write_bytes(self._storage.read(name))
            os.utime(temporary, (entry.changed, entry.changed))
        self._seen[name], self._sent[name] = entry, _stamp(target)

    def _set_folder_times(self, fetched: dict[str, Entry]) -> None:
        """Set the times of folders to those of their newest files in the storage, which the run monitor reads."""
        for folder in {(self._root / name).parent for name in fetched} - {self._root}:
            newest = max(file.stat().st_mtime for file in folder.iterdir())
            os.utime(folder, (newest, newest))

    def _name(self, file: Path) -> str:
        return file.relative_to(self._root).as_posix()


@lru_cache(maxsize=64)
def synced_folder(root: Path, storage: Storage) -> SyncedFolder:
    """Return this process's state of a synchronised folder."""
    return SyncedFolder(root, storage)


def work_folder(storage: Storage) -> Path:
    """Return this user's private work folder for a run in remote storage; raise ValueError if it cannot be created."""
    parent = Path(tempfile.gettempdir()) / f"dwm_ray-{os.getuid()}"
    folder = parent / f"{storage.name}-{fingerprint(storage.address)[:8]}"
    try:
        parent.mkdir(mode=0o700, exist_ok=True)
        if parent.lstat().st_uid != os.getuid() or parent.is_symlink():
            raise ValueError(f"{parent}: belongs to another user; set TMPDIR to a folder of your own")
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise ValueError(f"{folder}: cannot be created ({error.strerror})") from error
    return folder


def _rank(name: str) -> int:
    """Return the rank of a file in the transfer order: weights, their descriptions, then `MARKERS`."""
    file = name.rsplit("/", 1)[-1]
    return MARKERS.index(file) + 2 if file in MARKERS else int(file.endswith(".json"))


def _stamp(file: Path) -> tuple[int, int]:
    stat = file.stat()
    return stat.st_size, stat.st_mtime_ns

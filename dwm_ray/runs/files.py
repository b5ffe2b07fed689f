"""Output files of programs: checked before the work starts, and complete or absent afterwards."""

import fcntl
import logging
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryFile

logger = logging.getLogger(__name__)


def check_writable(option: str, path: Path) -> None:
    """Create the folder of a file; raise ValueError naming the option if the file cannot be written there."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        raise ValueError(f"{option} {path}: {error.strerror}; expected a folder that can be written") from error
    if path.is_dir():
        raise ValueError(f"{option} {path}: is a folder; expected a file")


@contextmanager
def atomic_path(path: Path, *, shared: bool = False) -> Iterator[Path]:
    """Yield a temporary path that replaces `path` if the body succeeds, and is deleted otherwise.

    Set `shared` if several processes or threads may write `path` at the same time.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = f".{os.getpid()}-{threading.get_ident()}" if shared else ""
    temporary = path.with_name(f"{path.name}{writer}.part")
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_atomically(path: Path, text: str) -> None:
    """Write a text file atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Lock a folder; raise ValueError if another program on this machine has locked it.

    The operating system releases the lock when the process ends. On a file system without locks, log a warning.
    """
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        _lock(descriptor, folder)
        yield
    finally:
        os.close(descriptor)


def _lock(descriptor: int, folder: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise ValueError(f"{folder}: another program uses it; expected a folder that is not in use") from error
    except OSError as error:
        logger.warning(
            "%s: cannot be locked (%s); a second program in this folder is not detected", folder, error.strerror
        )

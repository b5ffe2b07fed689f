"""Files of a cluster that a program starts on this machine, and their removal."""

import logging
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import ray
from ray._common.utils import get_default_ray_temp_dir
from ray._private import worker

from dwm_ray.distributed.cluster.settings import joined_address

MAX_BYTES = 107 - len("/session_2026-11-28_12-00-00_000000_4194304/sockets/plasma_store")
"""Longest path of Ray's folder: the address of a Unix socket has at most 107 bytes."""
SHORT, PREFIX = "/tmp", "dwm-"
logger = logging.getLogger(__name__)


def short_temp_dir() -> str | None:
    """Return a new folder for Ray's files if the default one (RAY_TMPDIR, TMPDIR or /tmp) is too long for sockets.

    Raises:
        ValueError: No short folder can be created.
    """
    usual = get_default_ray_temp_dir()
    if len(os.fsencode(usual)) <= MAX_BYTES:
        return None
    try:
        short = tempfile.mkdtemp(prefix=PREFIX, dir=SHORT)
    except OSError as error:
        raise ValueError(
            f"TMPDIR: {usual} is too long for the sockets of Ray, and {SHORT} cannot be used ({error.strerror}); "
            f"expected RAY_TMPDIR of at most {MAX_BYTES - len('/ray')} bytes"
        ) from error
    logger.warning("TMPDIR: %s is too long for the sockets of Ray; its files are in %s", usual, short)
    return short


@contextmanager
def removed_at_end() -> Iterator[None]:
    """Stop a cluster that is started in this context and remove its files; after an error, its logs remain."""
    starts = joined_address() is None and not ray.is_initialized()
    try:
        yield
    except Exception:
        raise
    except BaseException:
        _end(starts)
        raise
    else:
        _end(starts)


def _end(started: bool) -> None:
    if not started or not ray.is_initialized():
        return
    session = Path(worker._global_node.get_session_dir_path())
    ray.shutdown()
    folder = session.parent
    if folder.name.startswith(PREFIX):
        shutil.rmtree(folder, ignore_errors=True)
        return
    shutil.rmtree(session, ignore_errors=True)
    for link in folder.glob("*"):
        if link.is_symlink() and not link.exists():  # to the session
            with suppress(OSError):
                link.unlink()

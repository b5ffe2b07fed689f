"""What a node's process sends to the run's storage while it works, and where Ray keeps its own files of the run.

A run without a storage sends nothing: its folder is seen by all nodes. With one, a worker sends its folder at every
checkpoint, before Ray hears of that checkpoint, and at the end; a look at the log now and then may fail, that may not.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from dwm_ray.distributed.metrics.gauges import Gauges
from dwm_ray.runs.folder import RunFolder
from dwm_ray.runs.storage import StorageFailed
from dwm_ray.runs.transfer_stats import TRANSFERS

SEND_S = 15.0
"""Between two looks at a log that others may take from the storage."""
logger = logging.getLogger(__name__)


class Sender:
    """Sends one folder of a run."""

    def __init__(self, run: RunFolder, folder: Path) -> None:
        self._run, self._folder = run, folder
        self._last = 0.0

    def now(self) -> None:
        """Send what has changed. StorageFailed where the storage keeps failing."""
        self._run.push(self._folder)
        self._last = time.monotonic()

    def now_and_then(self) -> None:
        """Send what has changed if the last time is a while ago; a storage that fails is told of, no more."""
        if self._run.storage is None or time.monotonic() - self._last < SEND_S:
            return
        self._last = time.monotonic()
        try:
            self._run.push(self._folder, tries=1)
        except StorageFailed as error:
            logger.warning("%s; the log will be sent later", error)


@contextmanager
def sending(run: RunFolder, folder: Path, process: str) -> Iterator[Sender]:
    """A sender of a folder that an earlier try, on another node perhaps, may have begun; all is sent at the end."""
    export_transfer_stats(run, process)
    run.pull(folder)
    sender = Sender(run, folder)
    try:
        yield sender
    except BaseException:
        with suppress(StorageFailed):  # what happened first is what is to be told
            sender.now()
        raise
    sender.now()


def export_transfer_stats(run: RunFolder, process: str) -> None:
    """Export what this process exchanges with the run's storage."""
    if run.storage:
        TRANSFERS.on_change = Gauges("storage", {"run": run.name, "process": process}).set


def ray_storage(run: RunFolder) -> dict[str, Any]:
    """Ray's options for where it keeps checkpoints and state."""
    if run.storage is None:
        return {"storage_path": str(run.ray)}
    return {"storage_path": f"{run.storage.path}/{run.ray.name}", "storage_filesystem": run.storage.filesystem()}

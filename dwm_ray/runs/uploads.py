"""Upload a folder to the run's storage while a process writes to it.

Without remote storage, nothing is uploaded, because all nodes see the folder. Otherwise the folder is uploaded at every
checkpoint, every 15 s in between, and at the end. Only the uploads in between may fail.
"""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from dwm_ray.runs.folder import RunFolder
from dwm_ray.runs.storage import StorageFailed

PERIOD_S = 15.0
logger = logging.getLogger(__name__)


class Upload:
    """Upload of one folder."""

    def __init__(self, run: RunFolder, folder: Path) -> None:
        self._run, self._folder = run, folder
        self._last = 0.0

    def now(self) -> None:
        """Upload changed files; raise StorageFailed if all retries fail."""
        self._run.push(self._folder)
        self._last = time.monotonic()

    def if_due(self) -> None:
        """Upload changed files if the last upload was at least 15 s ago; only log failures of the storage."""
        if self._run.storage is None or time.monotonic() - self._last < PERIOD_S:
            return
        self._last = time.monotonic()
        try:
            self._run.push(self._folder, tries=1)
        except StorageFailed as error:
            logger.warning("%s; the log will be uploaded later", error)


@contextmanager
def uploading(run: RunFolder, folder: Path) -> Iterator[Upload]:
    """Fetch the files of `folder` that an earlier process uploaded; upload all files at the end."""
    run.pull(folder)
    upload = Upload(run, folder)
    try:
        yield upload
    except BaseException:
        with suppress(StorageFailed):  # the first error is the one to report
            upload.now()
        raise
    upload.now()

"""Counters of the rows that a run has generated and consumed in all its sessions."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from dwm_ray.blocks.journal import load_journals, total_counters
from dwm_ray.runs.folder import RunFolder
from dwm_ray.runs.storage import StorageFailed
from dwm_ray.runs.tensor_files import write_json

STORAGE_INTERVAL_S = 10.0
"""Minimum time between two updates if the run is in remote storage, from which journals must be fetched."""
logger = logging.getLogger(__name__)


class Counters:
    """Writer of `counters.json`."""

    def __init__(self, run: RunFolder, count: Callable[[bool], dict[str, int]]) -> None:
        """`count` returns the totals of all journals; with True, it pushes the journals first."""
        self._run, self._count = run, count
        self._oom_splits, self._updated = 0, 0.0

    @staticmethod
    def local(run: RunFolder) -> Counters:
        """Return the counters of a run in this process, which writes the journals itself."""
        return Counters(run, lambda push: total_counters(load_journals(run.root).values()))

    def update(self) -> None:
        """Write the counters if they are due; if the storage fails, retry later."""
        if self._run.storage:
            if time.monotonic() - self._updated < STORAGE_INTERVAL_S:
                return
            self._updated = time.monotonic()
        try:
            self._write(push=False)
        except StorageFailed as error:
            logger.warning("%s; the displayed progress is not up to date", error)

    def write(self) -> None:
        """Write the final counters and push their journals; raise StorageFailed if the storage fails."""
        self._write(push=True)

    def _write(self, push: bool) -> None:
        counters = self._count(push)
        if counters["oom_splits"] > self._oom_splits:
            self._oom_splits = counters["oom_splits"]
            logger.warning("samplers ran out of memory %d times and use smaller micro-batches now", self._oom_splits)
        with self._run.writing(self._run.counters):
            root = self._run.root
            artifacts = {
                "world_models_trained": len(list(root.glob("world_models/*/status.json"))),
                "streams_generated": len(list(root.glob("streams/*/stream.json"))),
            }
            write_json(self._run.counters, {**counters, **artifacts})

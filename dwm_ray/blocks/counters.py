"""Rows in and out of a run, over all its sessions, kept in its folder."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from dwm_ray.blocks.journal import journals_of, totals
from dwm_ray.runs.folder import RunFolder
from dwm_ray.runs.storage import StorageFailed
from dwm_ray.runs.tensor_files import write_json

STORAGE_LOOK_S = 10.0
LOG = logging.getLogger(__name__)


class Counters:
    """`counters.json`: what this and earlier sessions of the run drew and consumed; written again at every look, or as
    often as a storage is to be asked what its nodes have left there."""

    def __init__(self, run: RunFolder, count: Callable[[bool], dict[str, int]]) -> None:
        """`count` tells what all accounts come to by now; where it is given True, what it counts lies in the storage
        afterwards."""
        self._run, self._count = run, count
        self._halvings, self._looked = 0, 0.0

    @staticmethod
    def here(run: RunFolder) -> Counters:
        """Of a run in this process, which writes the accounts itself."""
        return Counters(run, lambda at_once: totals(list(journals_of(run.root).values())))

    def look(self) -> None:
        """Write them if it is time; a storage that fails is asked again later."""
        if self._run.storage:
            if time.monotonic() - self._looked < STORAGE_LOOK_S:
                return
            self._looked = time.monotonic()
        try:
            self._write(at_once=False)
        except StorageFailed as error:
            LOG.warning("%s; the progress shown is old", error)

    def write(self) -> None:
        """At the end: what they count lies in the storage then. StorageFailed where it does not take it."""
        self._write(at_once=True)

    def _write(self, at_once: bool) -> None:
        now = self._count(at_once)
        if now["oom_splits"] > self._halvings:
            self._halvings = now["oom_splits"]
            LOG.warning("samplers ran out of memory %d times and draw fewer rows at once now", self._halvings)
        with self._run.writing(self._run.counters):
            write_json(self._run.counters, {**now, **shared_parts(self._run)})


def shared_parts(run: RunFolder) -> dict[str, int]:
    """World models and streams that the run folder holds whole."""
    return {
        "world_models_trained": len(list(run.root.glob("world_models/*/status.json"))),
        "streams_generated": len(list(run.root.glob("streams/*/stream.json"))),
    }

"""Rows in and out of a run, over all its sessions, kept in its folder."""

from __future__ import annotations

import logging
import time

import ray

from dwm_ray.checkpoint import write_json
from dwm_ray.distributed.sending import count_traffic
from dwm_ray.distributed.trial import Plant
from dwm_ray.run_folder import RunFolder, read_json
from dwm_ray.storage import StorageFailed

STORAGE_LOOK_S = 10.0
logger = logging.getLogger(__name__)


class Counters:
    """`counters.json`: what this and earlier sessions of the run drew and consumed; written again at every look, or as
    often as a storage is to be asked what its nodes have left there."""

    def __init__(self, plant: Plant) -> None:
        self._run, self._buffer = plant.run, plant.buffer
        self._before: dict[str, int] = read_json(plant.run.counters) or {}
        self._looked = 0.0
        count_traffic(plant.run, "driver")

    def look(self) -> None:
        """Write them if it is time; a storage that fails is asked again later."""
        if self._run.storage:
            if time.monotonic() - self._looked < STORAGE_LOOK_S:
                return
            self._looked = time.monotonic()
        try:
            self.write()
        except StorageFailed as error:
            logger.warning("%s; the progress shown is old", error)

    def write(self) -> None:
        self._run.pull()
        now: dict[str, int] = ray.get(self._buffer.counters.remote())
        both = {name: self._before.get(name, 0) + value for name, value in now.items()}
        with self._run.writing(self._run.counters):
            write_json(self._run.counters, {**both, **shared_parts(self._run)})


def shared_parts(run: RunFolder) -> dict[str, int]:
    """World models and streams that the run folder holds whole."""
    return {
        "world_models_trained": len(list(run.root.glob("world_models/*/status.json"))),
        "streams_drawn": len(list(run.root.glob("streams/*/stream.json"))),
    }

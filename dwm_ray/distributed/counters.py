"""Rows in and out of a run, over all its sessions, kept in its folder."""

from __future__ import annotations

import logging

from dwm_ray.checkpoint import write_json
from dwm_ray.distributed.trial import Plant
from dwm_ray.run_folder import RunFolder

LOG = logging.getLogger(__name__)


class Counters:
    """`counters.json`: what this and earlier sessions of the run drew and consumed; written again at every look."""

    def __init__(self, plant: Plant) -> None:
        self._run, self._buffer = plant.run, plant.buffer
        self._halvings = 0

    def write(self) -> None:
        now = self._buffer.counters()
        if now["oom_halvings"] > self._halvings:
            self._halvings = now["oom_halvings"]
            LOG.warning("samplers ran out of memory %d times and draw fewer rows at once now", self._halvings)
        write_json(self._run.counters, {**now, **shared_parts(self._run)})


def shared_parts(run: RunFolder) -> dict[str, int]:
    """World models and streams that the run folder holds whole."""
    return {
        "world_models_trained": len(list(run.root.glob("world_models/*/status.json"))),
        "streams_drawn": len(list(run.root.glob("streams/*/stream.json"))),
    }

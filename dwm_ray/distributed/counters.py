"""Rows in and out of a run, over all its sessions, kept in its folder."""

from __future__ import annotations

from dwm_ray.checkpoint import write_json
from dwm_ray.distributed.trial import Plant
from dwm_ray.run_folder import RunFolder, read_json


class Counters:
    """`counters.json`: what this and earlier sessions of the run drew and consumed; written again at every look."""

    def __init__(self, plant: Plant) -> None:
        self._run, self._buffer = plant.run, plant.buffer
        self._before: dict[str, int] = read_json(plant.run.counters) or {}

    def write(self) -> None:
        now = self._buffer.counters()
        both = {name: self._before.get(name, 0) + value for name, value in now.items()}
        write_json(self._run.counters, {**both, **shared_parts(self._run)})


def shared_parts(run: RunFolder) -> dict[str, int]:
    """World models and streams that the run folder holds whole."""
    return {
        "world_models_trained": len(list(run.root.glob("world_models/*/status.json"))),
        "streams_drawn": len(list(run.root.glob("streams/*/stream.json"))),
    }

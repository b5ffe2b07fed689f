"""Rows in and out of a run on Ray: what its buffer has counted."""

from __future__ import annotations

from dwm_ray.distributed.sending import count_traffic
from dwm_ray.distributed.trial import Plant
from dwm_ray.streams.counters import Counters


def counters_of(plant: Plant) -> Counters:
    """Those of the run that a plant works for; the driver's traffic with its storage is counted from now on."""
    count_traffic(plant.run, "driver")

    def count(at_once: bool) -> dict[str, int]:
        plant.buffer.save(at_once)
        plant.run.pull()
        return plant.buffer.counters()

    return Counters(plant.run, count)

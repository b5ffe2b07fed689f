"""Rows in and out of a run on Ray: what its buffer has counted."""

from __future__ import annotations

from dwm_ray.blocks.counters import Counters
from dwm_ray.distributed.tune.trial import ClusterServices
from dwm_ray.distributed.workers.sync import export_transfer_stats


def counters_of(services: ClusterServices) -> Counters:
    """Those of the run that a plant works for; the driver's traffic with its storage is counted from now on."""
    export_transfer_stats(services.run, "driver")

    def count(at_once: bool) -> dict[str, int]:
        services.buffer.save(at_once)
        services.run.pull()
        return services.buffer.counters()

    return Counters(services.run, count)

"""Counters of a run on Ray, from its buffer."""

from __future__ import annotations

from dwm_ray.blocks.counters import Counters
from dwm_ray.distributed.metrics.transfers import export_transfer_stats
from dwm_ray.distributed.services import ClusterServices


def counters_of(services: ClusterServices) -> Counters:
    """Return the run's counters; export the driver's transfer statistics from now on."""
    export_transfer_stats(services.run, "driver")

    def count(push: bool) -> dict[str, int]:
        services.buffer.push_journals(push)
        services.run.pull()
        return services.buffer.counters()

    return Counters(services.run, count)

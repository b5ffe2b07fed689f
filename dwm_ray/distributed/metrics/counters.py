"""Counters of a run on Ray, from its buffer."""

from __future__ import annotations

from dwm_ray.blocks.counters import Counters
from dwm_ray.distributed.tune.trial import ClusterServices
from dwm_ray.distributed.workers.sync import export_transfer_stats


def counters_of(services: ClusterServices) -> Counters:
    """Return the counters of a run; also start to export the driver's transfer statistics."""
    export_transfer_stats(services.run, "driver")

    def count(push: bool) -> dict[str, int]:
        services.buffer.push_journals(push)
        services.run.pull()
        return services.buffer.counters()

    return Counters(services.run, count)

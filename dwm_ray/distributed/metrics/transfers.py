"""Export the transfer statistics of this process as gauges."""

from __future__ import annotations

from dwm_ray.distributed.metrics.gauges import Gauges
from dwm_ray.runs.folder import RunFolder
from dwm_ray.runs.transfer_stats import TRANSFERS


def export_transfer_stats(run: RunFolder, process: str) -> None:
    """Export the transfer statistics of this process as gauges, if the run has a storage."""
    if run.storage:
        TRANSFERS.on_change = Gauges("storage", {"run": run.name, "process": process}).set

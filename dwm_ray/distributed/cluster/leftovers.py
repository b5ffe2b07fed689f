"""Remove placement groups that earlier programs left in a cluster.

Ray 2.60 removes a job's placement groups when its driver ends but can miss a group that was being created at that
moment. Its resources stay reserved, and the next trial waits for them indefinitely. A program therefore removes its own
groups when it is interrupted, and the groups of killed programs when it joins a cluster.
"""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import ray
from ray._raylet import PlacementGroupID
from ray.util import remove_placement_group
from ray.util.placement_group import PlacementGroup
from ray.util.state import list_actors, list_jobs, list_placement_groups

from dwm_ray.distributed.cluster.connection import connect, disconnect
from dwm_ray.distributed.cluster.settings import joined_address

ENDED = ("SUCCEEDED", "FAILED", "STOPPED")
LIMIT = 10_000
TIMEOUT_S, POLL_S = 15.0, 0.5
logger = logging.getLogger(__name__)


def free_leftovers() -> int:
    """Remove the placement groups of ended jobs, except detached ones; return their number."""
    ended = {job.job_id for job in list_jobs(limit=LIMIT) if job.status in ENDED and job.job_id}
    return _remove_groups(ended.__contains__)


@contextmanager
def cleanup_on_interrupt() -> Iterator[None]:
    """Remove the program's placement groups if it is interrupted (Ctrl-C, SIGTERM) but the cluster continues."""
    try:
        yield
    except (KeyboardInterrupt, SystemExit):
        if joined_address() is not None:
            _leave_and_free(ray.get_runtime_context().get_job_id())
        raise


def _leave_and_free(job: str) -> None:
    """Disconnect, which ends the job, connect again and remove the groups that Ray missed."""
    disconnect()
    try:
        connect()
        free_job(job)
    except Exception as error:  # the interrupt must reach the caller
        logger.warning("cannot remove placement groups of this program (%s); the next program will remove them", error)


def free_job(job: str) -> None:
    """Remove placement groups of an ending job until it has no actor that could create another one."""
    deadline = time.monotonic() + TIMEOUT_S
    alive = [("job_id", "=", job), ("state", "!=", "DEAD")]
    while list_actors(filters=alive, limit=LIMIT) and time.monotonic() < deadline:
        _remove_groups(job.__eq__)
        time.sleep(POLL_S)
    _remove_groups(job.__eq__)


def _remove_groups(of_job: Callable[[str], bool]) -> int:
    groups = [group for group in list_placement_groups(detail=True, limit=LIMIT) if group.state != "REMOVED"]
    leftovers = [group for group in groups if of_job(group.creator_job_id) and not group.is_detached]
    for group in leftovers:
        remove_placement_group(PlacementGroup(PlacementGroupID(bytes.fromhex(group.placement_group_id))))
    return len(leftovers)

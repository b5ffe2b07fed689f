"""What programs that were cut off left in a cluster that lives on.

Ray removes a job's placement groups when its driver ends, but Ray 2.60 can miss one that was being made at that moment
(seen when a sweep was killed, or stopped by Ctrl-C, as a learner started). Nobody would ever free what it holds, and
the next trial would wait for it for ever. So a program that is stopped looks after its own, and one that joins a
cluster after those that were killed.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import ray
from ray._raylet import PlacementGroupID
from ray.util import remove_placement_group
from ray.util.placement_group import PlacementGroup
from ray.util.state import list_actors, list_jobs, list_placement_groups

from dwm_ray.distributed.cluster.resources import connect

ENDED = ("SUCCEEDED", "FAILED", "STOPPED")
MOST = 10_000
PATIENCE_S, LOOK_S = 15.0, 0.5
LOG = logging.getLogger(__name__)


def free_leftovers() -> int:
    """Remove the placement groups of jobs that have ended, but for those made to outlive them; returns how many."""
    ended = {job.job_id for job in list_jobs(limit=MOST) if job.status in ENDED and job.job_id}
    return _free(ended.__contains__)


@contextmanager
def leaving_nothing() -> Iterator[None]:
    """Around work on a cluster: where it is stopped (Ctrl-C, SIGTERM) and the cluster lives on, the program leaves it,
    joins it again, and frees what Ray has missed of its own."""
    try:
        yield
    except (KeyboardInterrupt, SystemExit):
        if "RAY_ADDRESS" in os.environ:
            _free_job_left(ray.get_runtime_context().get_job_id())
        raise


def _free_job_left(job: str) -> None:
    ray.shutdown()
    try:
        connect()
        free_job(job)
    except Exception as error:  # what stopped the program is what it must end with
        LOG.warning("could not see whether placement groups of this program are left (%s); the next one will", error)


def free_job(job: str) -> None:
    """Remove placement groups of a job that ends until it has no actor any more that could make one."""
    deadline = time.monotonic() + PATIENCE_S
    while _acts(job) and time.monotonic() < deadline:
        _free(job.__eq__)
        time.sleep(LOOK_S)
    _free(job.__eq__)


def _acts(job: str) -> bool:
    return bool(list_actors(filters=[("job_id", "=", job), ("state", "!=", "DEAD")], limit=MOST))


def _free(is_ended: Callable[[str], bool]) -> int:
    groups = [group for group in list_placement_groups(detail=True, limit=MOST) if group.state != "REMOVED"]
    left = [group for group in groups if is_ended(group.creator_job_id) and not group.is_detached]
    for group in left:
        remove_placement_group(PlacementGroup(PlacementGroupID(bytes.fromhex(group.placement_group_id))))
    return len(left)

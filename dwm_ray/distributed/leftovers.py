"""What killed programs left in a cluster that lives on.

Ray removes a job's placement groups when its driver dies, but Ray 2.60 can miss one that was being made at that moment
(seen when a sweep was killed as a learner started). Nobody would ever free what it holds, and the next trial would wait
for it for ever.
"""

from __future__ import annotations

from ray._raylet import PlacementGroupID
from ray.util import remove_placement_group
from ray.util.placement_group import PlacementGroup
from ray.util.state import list_jobs, list_placement_groups

ENDED = ("SUCCEEDED", "FAILED", "STOPPED")
MOST = 10_000


def free_leftovers() -> int:
    """Remove the placement groups of jobs that have ended, but for those made to outlive them; returns how many."""
    ended = {job.job_id for job in list_jobs(limit=MOST) if job.status in ENDED and job.job_id}
    groups = [group for group in list_placement_groups(detail=True, limit=MOST) if group.state != "REMOVED"]
    left = [group for group in groups if group.creator_job_id in ended and not group.is_detached]
    for group in left:
        remove_placement_group(PlacementGroup(PlacementGroupID(bytes.fromhex(group.placement_group_id))))
    return len(left)

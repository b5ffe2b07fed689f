"""Only what ended jobs left, and what was not made to outlive them, is freed."""

from types import SimpleNamespace

import pytest

from dwm_ray.distributed import leftovers

LEFT, OTHERS = "a" * 36, ("b" * 36, "c" * 36, "d" * 36)


def group(name: str, job: str, state: str = "CREATED", is_detached: bool = False) -> SimpleNamespace:
    return SimpleNamespace(placement_group_id=name, creator_job_id=job, state=state, is_detached=is_detached)


def test_only_leftovers_of_ended_jobs_are_removed(monkeypatch: pytest.MonkeyPatch) -> None:
    jobs = [SimpleNamespace(job_id="01", status="RUNNING"), SimpleNamespace(job_id="02", status="SUCCEEDED")]
    groups = [
        group(LEFT, "02"),
        group(OTHERS[0], "01"),
        group(OTHERS[1], "02", is_detached=True),
        group(OTHERS[2], "02", state="REMOVED"),
    ]
    removed: list[str] = []
    monkeypatch.setattr(leftovers, "list_jobs", lambda limit: jobs)
    monkeypatch.setattr(leftovers, "list_placement_groups", lambda detail, limit: groups)
    monkeypatch.setattr(leftovers, "remove_placement_group", lambda one: removed.append(one.id.hex()))
    assert leftovers.free_leftovers() == 1
    assert removed == [LEFT]

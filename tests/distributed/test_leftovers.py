"""Only placement groups of ended jobs that are not detached are removed."""

from types import SimpleNamespace

import pytest

from dwm_ray.distributed.cluster import leftovers

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


def test_an_interrupted_program_removes_its_groups_until_it_has_no_actor(monkeypatch: pytest.MonkeyPatch) -> None:
    """A group is created while the job's last actor dies."""
    groups = [group(OTHERS[0], "01")]
    actors_left = [[object()], []]
    removed: list[str] = []

    def actors(filters: object, limit: int) -> list[object]:
        if len(actors_left) == 1:
            groups.append(group(LEFT, "02"))
        return actors_left.pop(0)

    monkeypatch.setattr(leftovers, "list_actors", actors)
    monkeypatch.setattr(leftovers, "list_placement_groups", lambda detail, limit: groups)
    monkeypatch.setattr(leftovers, "remove_placement_group", lambda one: removed.append(one.id.hex()))
    monkeypatch.setattr(leftovers, "POLL_S", 0.0)
    leftovers.free_job("02")
    assert removed == [LEFT]


@pytest.mark.parametrize("joined", [True, False])
def test_only_an_interrupted_program_reconnects_and_only_to_a_cluster_that_lives_on(
    monkeypatch: pytest.MonkeyPatch, joined: bool
) -> None:
    seen: list[str] = []
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    if joined:
        monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    monkeypatch.setattr(leftovers.ray, "get_runtime_context", lambda: SimpleNamespace(get_job_id=lambda: "07"))
    monkeypatch.setattr(leftovers, "_leave_and_free", seen.append)
    with pytest.raises(ValueError, match="bad input"), leftovers.cleanup_on_interrupt():
        raise ValueError("bad input")
    assert seen == []
    with pytest.raises(KeyboardInterrupt), leftovers.cleanup_on_interrupt():
        raise KeyboardInterrupt
    assert seen == (["07"] if joined else [])

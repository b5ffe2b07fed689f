"""Nodes are asked for, waited for in sight of the user, and given back whatever happens; Ray's answers are played."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from dwm_ray.distributed.cluster import provision
from dwm_ray.distributed.cluster.nodes import Resources, ScalingLimits, parse_limits
from dwm_ray.experiment.profiles import resolve
from dwm_ray.options import ClusterConfig
from dwm_ray.runs.folder import RunFailed

AWS = yaml.safe_load((Path(__file__).parents[2] / "cluster.yaml").read_text())
HEAD: Resources = {"CPU": 0}
LEARNER: Resources = {"CPU": 8, "GPU": 1, "learner_node": 1}
SAMPLER: Resources = {"CPU": 8, "GPU": 1, "sampler_node": 1}


@dataclass
class Stage:
    """A cluster whose nodes come with every second look."""

    coming: list[Resources]
    nodes: list[Resources] = field(default_factory=lambda: [HEAD])
    requests: list[list[Resources]] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    now: float = 0.0

    def pass_time(self, seconds: float) -> None:
        self.now += 20.0
        if self.coming and self.requests:
            self.nodes.append(self.coming.pop(0))


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch) -> Stage:
    stage = Stage([SAMPLER, LEARNER])
    monkeypatch.setattr(provision, "scaling_limits", lambda: parse_limits(AWS))
    monkeypatch.setattr(provision, "alive_nodes", lambda: list(stage.nodes))
    monkeypatch.setattr(provision.sdk, "request_resources", lambda bundles: stage.requests.append(bundles))
    monkeypatch.setattr(provision.time, "monotonic", lambda: stage.now)
    monkeypatch.setattr(provision.time, "sleep", stage.pass_time)
    return stage


def provisioned(stage: Stage, **options: Any) -> Any:
    return provision.provisioned(ClusterConfig(**options), stage.lines.append)


def test_it_asks_waits_and_gives_back(stage: Stage) -> None:
    with provisioned(stage) as placement:
        assert placement.concurrent_trials == 4
        asked = stage.requests[0]
        assert len(asked) == 2 + 2, "two samplers, a trial and its learner"
        assert stage.requests == [asked] * 3, "at every look, for others may have made theirs"
        assert "waiting for room, 0 of at most 900 s; 1 nodes have joined" in stage.lines[0]
    assert stage.requests[3:] == [[]]
    assert "withdrawn" in stage.lines[-1]


@pytest.mark.parametrize("end", [KeyboardInterrupt, SystemExit, ZeroDivisionError])
def test_whatever_ends_the_work_withdraws_the_request(stage: Stage, end: type[BaseException]) -> None:
    with pytest.raises(end), provisioned(stage):
        raise end
    assert stage.requests[-1] == []
    assert [] not in stage.requests[:-1]


def test_nodes_that_do_not_come_fail_the_run_and_are_no_longer_asked_for(stage: Stage) -> None:
    stage.coming = [SAMPLER]
    with pytest.raises(RunFailed, match=r"2 nodes after cluster.wait_for_nodes_s = 100 s: .*0 with learner_node"):
        provisioned(stage, wait_for_nodes_s=100.0).__enter__()
    assert stage.requests[-1] == []
    assert sum("waiting" in line for line in stage.lines) == 3, "one line in half a minute, at 20 s a look"


def test_what_the_cluster_can_never_have_is_bad_input(stage: Stage) -> None:
    with pytest.raises(ValueError, match="too few for 17 samplers"), provisioned(stage, num_samplers=17):
        pass
    assert stage.requests == []


def test_a_request_that_cannot_be_withdrawn_is_told(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    with provisioned(stage):
        monkeypatch.setattr(provision.sdk, "request_resources", lambda bundles: 1 / 0)
    assert "could not be withdrawn" in stage.lines[-1]


def test_machines_of_ones_own_are_waited_for_without_a_request(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(provision, "scaling_limits", lambda: ScalingLimits(max_nodes=2))
    looks = iter([[HEAD], [HEAD, SAMPLER], [HEAD, SAMPLER, LEARNER]])
    current: list[Resources] = []
    monkeypatch.setattr(provision, "alive_nodes", lambda: current)
    monkeypatch.setattr(provision.time, "sleep", lambda seconds: current.__setitem__(slice(None), next(looks)))
    with provisioned(stage) as placement:
        assert placement.quotas.roles
    assert stage.requests == []


def test_more_than_all_machines_of_ones_own_can_hold_is_bad_input(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(provision, "scaling_limits", lambda: ScalingLimits(max_nodes=2))
    stage.nodes = [HEAD, SAMPLER, LEARNER]
    with pytest.raises(ValueError, match="too few for 17 samplers"), provisioned(stage, num_samplers=17):
        pass
    assert stage.now == 0.0


def test_a_cluster_that_does_not_grow_is_not_waited_for(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(provision, "scaling_limits", lambda: None)
    with pytest.raises(ValueError, match="too few"), provisioned(stage):
        pass
    assert (stage.requests, stage.now) == ([], 0.0)


def test_the_profile_goes_by_gpus_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert resolve("auto") == "laptop"
    assert resolve("auto", lambda: True) == "paper"
    assert resolve("laptop", lambda: pytest.fail("is asked only for auto")) == "laptop"

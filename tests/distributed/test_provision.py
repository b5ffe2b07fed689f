"""Requests for nodes: made at every poll, reported to the user, and always withdrawn; Ray's answers are simulated."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from dwm_ray.distributed.cluster import provision
from dwm_ray.distributed.cluster.resources import Resources, ScalingLimits, parse_limits
from dwm_ray.experiment.profiles import resolve
from dwm_ray.options import ClusterConfig
from dwm_ray.runs.folder import RunFailed

AWS = yaml.safe_load((Path(__file__).parents[2] / "cluster.yaml").read_text())
HEAD: Resources = {"CPU": 0}
LEARNER: Resources = {"CPU": 8, "GPU": 1, "learner_node": 1}
SAMPLER: Resources = {"CPU": 8, "GPU": 1, "sampler_node": 1}


@dataclass
class SimulatedCluster:
    """A cluster on which one node joins per poll, once nodes are requested or if they join unrequested."""

    joining: list[Resources]
    limits: ScalingLimits | None
    unrequested: bool = False
    nodes: list[Resources] = field(default_factory=lambda: [HEAD])
    requests: list[list[Resources]] = field(default_factory=list)
    messages: list[str] = field(default_factory=list)
    now: float = 0.0

    def sleep(self, seconds: float) -> None:
        self.now += 20.0
        if self.joining and (self.requests or self.unrequested):
            self.nodes.append(self.joining.pop(0))

    def provisioned(self, **options: Any) -> Any:
        return provision.provisioned(ClusterConfig(**options), self.messages.append)


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> SimulatedCluster:
    cluster = SimulatedCluster([SAMPLER, LEARNER], parse_limits(AWS))
    monkeypatch.setattr(provision, "scaling_limits", lambda: cluster.limits)
    monkeypatch.setattr(provision, "alive_nodes", lambda: list(cluster.nodes))
    monkeypatch.setattr(provision.sdk, "request_resources", lambda bundles: cluster.requests.append(bundles))
    monkeypatch.setattr(provision.time, "monotonic", lambda: cluster.now)
    monkeypatch.setattr(provision.time, "sleep", cluster.sleep)
    return cluster


def test_nodes_are_requested_awaited_and_released(cluster: SimulatedCluster) -> None:
    with cluster.provisioned() as placement:
        assert placement.concurrent_trials == 4
        request = cluster.requests[0]
        assert len(request) == 2 + 2, "two samplers, a trial and its learner"
        assert cluster.requests == [request] * 3, "at every poll, because Ray Train overwrites it"
        assert "waiting for room, 0 of at most 900 s; 1 nodes have joined" in cluster.messages[0]
    assert cluster.requests[3:] == [[]]
    assert "withdrawn" in cluster.messages[-1]


@pytest.mark.parametrize("end", [KeyboardInterrupt, SystemExit, ZeroDivisionError])
def test_every_end_of_the_work_withdraws_the_request(cluster: SimulatedCluster, end: type[BaseException]) -> None:
    with pytest.raises(end), cluster.provisioned():
        raise end
    assert cluster.requests[-1] == []
    assert [] not in cluster.requests[:-1]


def test_nodes_that_do_not_join_fail_the_run(cluster: SimulatedCluster) -> None:
    cluster.joining = [SAMPLER]
    with pytest.raises(RunFailed, match=r"2 nodes after cluster.wait_for_nodes_s = 100 s: .*0 with learner_node"):
        cluster.provisioned(wait_for_nodes_s=100.0).__enter__()
    assert cluster.requests[-1] == []
    assert sum("waiting" in line for line in cluster.messages) == 3, "one message per 30 s with polls every 20 s"


def test_a_request_that_cannot_be_withdrawn_is_reported(
    cluster: SimulatedCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    with cluster.provisioned():
        monkeypatch.setattr(provision.sdk, "request_resources", lambda bundles: 1 / 0)
    assert "could not be withdrawn" in cluster.messages[-1]


def test_local_machines_are_awaited_without_a_request(cluster: SimulatedCluster) -> None:
    cluster.limits, cluster.unrequested = ScalingLimits(max_nodes=2), True
    with cluster.provisioned() as placement:
        assert placement.quotas.roles
    assert cluster.requests == []


@pytest.mark.parametrize(
    ("limits", "nodes"),
    [
        (parse_limits(AWS), [HEAD]),
        (ScalingLimits(max_nodes=2), [HEAD, SAMPLER, LEARNER]),
        (None, [HEAD, SAMPLER, LEARNER]),
    ],
    ids=["cloud", "local", "no autoscaler"],
)
def test_more_than_the_complete_cluster_can_hold_is_refused_at_once(
    cluster: SimulatedCluster, limits: ScalingLimits | None, nodes: list[Resources]
) -> None:
    cluster.limits, cluster.nodes = limits, nodes
    with pytest.raises(ValueError, match="too few for 17 samplers"), cluster.provisioned(num_samplers=17):
        pass
    assert (cluster.requests, cluster.now) == ([], 0.0)


def test_the_profile_considers_gpus_of_the_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert resolve("auto") == "laptop"
    assert resolve("auto", lambda: True) == "paper"
    assert resolve("laptop", lambda: pytest.fail("is called only for auto")) == "laptop"

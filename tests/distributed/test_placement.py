"""Quotas and placement, computed from the resources that nodes offer; no Ray is needed."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from dwm_ray.distributed.cluster.provision import bundles
from dwm_ray.distributed.cluster.resources import (
    InsufficientResourcesError,
    Resources,
    ScalingLimits,
    compute_quotas,
    parse_limits,
    place,
    scaling_limits,
)
from dwm_ray.options import ClusterConfig

AWS = yaml.safe_load((Path(__file__).parents[2] / "cluster.yaml").read_text())
HEAD: Resources = {"CPU": 0, "node:__internal_head__": 1}
LEARNER: Resources = {"CPU": 8, "GPU": 1, "learner_node": 1}
SAMPLER: Resources = {"CPU": 8, "GPU": 1, "sampler_node": 1}
BOTH_ROLES: Resources = {**LEARNER, **SAMPLER}
PLAIN: Resources = {"CPU": 4}
GPU: Resources = {"CPU": 8, "GPU": 1}


@pytest.mark.parametrize(
    ("roles", "nodes", "on"),
    [
        ("auto", [HEAD, LEARNER, SAMPLER], True),
        ("auto", [HEAD, SAMPLER], True),  # the first of two nodes that are joining
        ("auto", [HEAD, PLAIN], False),
        ("off", [HEAD, LEARNER, SAMPLER], False),
        ("on", [HEAD, PLAIN], True),
    ],
)
def test_roles_follow_the_resources_that_nodes_offer(roles: str, nodes: list[Resources], on: bool) -> None:
    quotas = compute_quotas(ClusterConfig(roles=roles), nodes)  # type: ignore[arg-type]
    assert quotas.roles is on
    assert ("sampler_node" in quotas.sampler) is on
    assert ("learner_node" in quotas.learner) is on
    assert ("learner_node" in quotas.trial) is on, "a trial's process, with Ray Train's controller"
    assert "learner_node" not in quotas.sampler


@pytest.mark.parametrize(
    ("options", "nodes", "trials"),
    [
        ({"learner_gpus": 0.25}, [HEAD, LEARNER, SAMPLER, SAMPLER], 4),  # the samplers' GPUs do not count
        ({"roles": "off"}, [HEAD, LEARNER], 2),
        ({"num_samplers": 2}, [HEAD, BOTH_ROLES], 2),
        ({"num_samplers": 6}, [HEAD, BOTH_ROLES, SAMPLER], 2),
        ({"num_samplers": 4}, [HEAD, BOTH_ROLES, SAMPLER], 4),
        ({"num_samplers": 1, "learner_cpus": 0.8}, [{"CPU": 2}], 2),
        ({"num_samplers": 2}, [GPU, GPU], 6),
        ({"num_samplers": 2, "learner_gpus": 0.0}, [GPU], 5),
        ({"min_learners": 4}, [LEARNER, SAMPLER], 4),
    ],
)
def test_concurrent_trials(options: dict[str, Any], nodes: list[Resources], trials: int) -> None:
    assert place(ClusterConfig(**options), nodes).concurrent_trials == trials


@pytest.mark.parametrize(
    ("options", "nodes", "message"),
    [
        ({}, [HEAD, SAMPLER], "on 1 nodes with sampler_node and 0 with learner_node, too few"),
        ({}, [HEAD, LEARNER], "0 nodes with sampler_node.*or set --cluster.roles off"),
        ({}, [HEAD], "the cluster has 0 CPUs and 0 GPUs"),
        ({"min_learners": 5}, [LEARNER, SAMPLER], "5 learners"),
        ({"model_workers": 5}, [LEARNER, SAMPLER], "5 learners"),
    ],
)
def test_insufficient_resources_are_named(options: dict[str, Any], nodes: list[Resources], message: str) -> None:
    with pytest.raises(InsufficientResourcesError, match=message):
        place(ClusterConfig(**options), nodes)


def test_a_placement_describes_itself() -> None:
    placement = place(ClusterConfig(), [HEAD, LEARNER, SAMPLER, SAMPLER])
    assert (placement.gpus, placement.use_gpu) == (3, True)
    assert "roles on" in placement.describe()


def test_quotas_of_the_complete_cluster_apply_before_it_is_complete() -> None:
    quotas = compute_quotas(ClusterConfig(), [HEAD, GPU])
    with pytest.raises(InsufficientResourcesError):
        place(ClusterConfig(), [PLAIN], quotas)


def test_the_cloud_file_limits_its_node_types() -> None:
    limits = parse_limits(AWS)
    learner, sampler = {"CPU": 8, "GPU": 1, "learner_node": 1}, {"CPU": 8, "GPU": 1, "sampler_node": 1}
    assert (limits.types, limits.max_nodes) == (((learner, 1), (sampler, 4)), 5)
    quotas = compute_quotas(ClusterConfig(), [HEAD, *limits.nodes()])
    assert quotas.roles
    requested = bundles(ClusterConfig(min_learners=2), quotas)
    assert sum("sampler_node" in bundle for bundle in requested) == 2
    assert sum("GPU" in bundle and "learner_node" in bundle for bundle in requested) == 2


def test_a_local_cluster_does_not_list_the_resources_of_its_machines() -> None:
    types = {"local.cluster.node": {"resources": {}}}
    assert parse_limits({"max_workers": 2, "available_node_types": types}) == ScalingLimits((), 2)


def test_only_a_joined_cluster_scales(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:6379")
    assert scaling_limits() is None
    (tmp_path / "ray_bootstrap_config.yaml").write_text(yaml.safe_dump(AWS))
    assert scaling_limits() == parse_limits(AWS)
    monkeypatch.delenv("RAY_ADDRESS")
    assert scaling_limits() is None

"""Who goes where, decided from what nodes offer; no Ray is needed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from dwm_ray.distributed.cluster.nodes import Resources, ScalingLimits, parse_limits, scaling_limits
from dwm_ray.distributed.cluster.provision import bundles
from dwm_ray.distributed.cluster.resources import InsufficientResourcesError, compute_quotas, place
from dwm_ray.options import ClusterConfig

AWS = yaml.safe_load((Path(__file__).parents[2] / "cluster.yaml").read_text())
LOCAL = yaml.safe_load((Path(__file__).parents[2] / "cluster-local.yaml").read_text())
HEAD: Resources = {"CPU": 0, "node:__internal_head__": 1}
LEARNER: Resources = {"CPU": 8, "GPU": 1, "learner_node": 1}
SAMPLER: Resources = {"CPU": 8, "GPU": 1, "sampler_node": 1}
PLAIN: Resources = {"CPU": 4}
GPU: Resources = {"CPU": 8, "GPU": 1}


def config(**options: Any) -> ClusterConfig:
    return ClusterConfig(**options)


@pytest.mark.parametrize(
    ("roles", "nodes", "on"),
    [
        ("auto", [HEAD, LEARNER, SAMPLER], True),
        ("auto", [HEAD, SAMPLER], True),  # the first node of two that are joining
        ("auto", [HEAD, PLAIN], False),
        ("off", [HEAD, LEARNER, SAMPLER], False),
        ("on", [HEAD, PLAIN], True),
    ],
)
def test_roles_follow_the_names_that_nodes_offer(roles: str, nodes: list[Resources], on: bool) -> None:
    quotas = compute_quotas(config(roles=roles), nodes)
    assert quotas.roles is on
    assert ("sampler_node" in quotas.sampler) is on
    assert ("learner_node" in quotas.learner) is on
    assert ("learner_node" in quotas.trial) is on, "a trial's process, and Ray Train's controller beside it"
    assert not {"learner_node"} & set(quotas.sampler)


def test_learners_count_only_the_nodes_of_their_role() -> None:
    placement = place(config(learner_gpus=0.25), [HEAD, LEARNER, SAMPLER, SAMPLER])
    assert placement.concurrent_trials == 4, "not the samplers' GPUs as well"
    assert (placement.gpus, placement.use_gpu) == (3, True)
    assert "roles on" in placement.describe()


def test_a_role_without_a_node_has_no_room() -> None:
    with pytest.raises(InsufficientResourcesError, match="1 nodes with sampler_node and 0 with learner_node, too few"):
        place(config(), [HEAD, SAMPLER])
    with pytest.raises(InsufficientResourcesError, match=r"0 nodes with sampler_node.*or set --cluster.roles off"):
        place(config(), [HEAD, LEARNER])
    assert place(config(roles="off"), [HEAD, LEARNER]).concurrent_trials == 2


def test_a_node_of_both_roles_holds_what_the_samplers_nodes_do_not() -> None:
    both = {**LEARNER, **SAMPLER}
    assert place(config(num_samplers=2), [HEAD, both]).concurrent_trials == 2
    assert place(config(num_samplers=6), [HEAD, both, SAMPLER]).concurrent_trials == 2
    assert place(config(num_samplers=4), [HEAD, both, SAMPLER]).concurrent_trials == 4


def test_without_roles_the_cluster_is_divided_as_one() -> None:
    assert place(config(num_samplers=1, learner_cpus=0.8), [{"CPU": 2}]).concurrent_trials == 2
    assert place(config(num_samplers=2), [GPU, GPU]).concurrent_trials == 6
    assert place(config(num_samplers=2, learner_gpus=0.0), [GPU]).concurrent_trials == 5
    with pytest.raises(InsufficientResourcesError, match="the cluster has 0 CPUs and 0 GPUs"):
        place(config(), [HEAD])


def test_as_many_learners_as_are_asked_for_must_fit() -> None:
    assert place(config(min_learners=4), [LEARNER, SAMPLER]).concurrent_trials == 4
    for more in ({"min_learners": 5}, {"model_workers": 5}):
        with pytest.raises(InsufficientResourcesError, match="5 learners"):
            place(config(**more), [LEARNER, SAMPLER])


def test_quotas_are_those_of_the_whole_cluster_before_it_is_there() -> None:
    quotas = compute_quotas(config(), [HEAD, GPU])
    with pytest.raises(InsufficientResourcesError):
        place(config(), [PLAIN], quotas)


def test_the_cloud_file_promises_its_node_types() -> None:
    limits = parse_limits(AWS)
    assert limits.types == (
        ({"CPU": 8, "GPU": 1, "learner_node": 1}, 1),
        ({"CPU": 8, "GPU": 1, "sampler_node": 1}, 4),
    )
    assert limits.max_nodes == 5
    quotas = compute_quotas(config(), [HEAD, *limits.nodes()])
    assert quotas.roles
    asked = bundles(config(min_learners=2), quotas)
    assert sum("sampler_node" in bundle for bundle in asked) == 2
    assert sum("GPU" in bundle and "learner_node" in bundle for bundle in asked) == 2


def test_machines_of_ones_own_are_known_when_they_have_joined() -> None:
    """The file of a `local` cluster does not list the resources of its machines."""
    assert parse_limits({**LOCAL, "available_node_types": {"local.cluster.node": {"resources": {}}}}) == ScalingLimits(
        (), 2
    )


def test_only_a_cluster_that_is_joined_grows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:6379")
    assert scaling_limits() is None
    (tmp_path / "ray_bootstrap_config.yaml").write_text(yaml.safe_dump(AWS))
    assert scaling_limits() == parse_limits(AWS)
    monkeypatch.delenv("RAY_ADDRESS")
    assert scaling_limits() is None

"""Who goes where, decided from what nodes offer; no Ray is needed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from dwm_ray.config import ClusterConfig
from dwm_ray.distributed.cluster.nodes import Growth, Resources, growth_here, growth_of
from dwm_ray.distributed.cluster.provision import bundles
from dwm_ray.distributed.cluster.resources import TooFew, divide, place

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
    shares = divide(config(roles=roles), nodes)
    assert shares.roles is on
    assert ("sampler_node" in shares.sampler) is on
    assert ("learner_node" in shares.learner) is on
    assert ("learner_node" in shares.trial) is on, "a trial's process, and Ray Train's controller beside it"
    assert not {"learner_node"} & set(shares.sampler)


def test_learners_count_only_the_nodes_of_their_role() -> None:
    placement = place(config(learner_gpus=0.25), [HEAD, LEARNER, SAMPLER, SAMPLER])
    assert placement.concurrent_trials == 4, "not the samplers' GPUs as well"
    assert (placement.gpus, placement.use_gpu) == (3, True)
    assert "roles on" in placement.describe()


def test_a_role_without_a_node_has_no_room() -> None:
    with pytest.raises(TooFew, match="on 1 nodes with sampler_node and 0 with learner_node, too few"):
        place(config(), [HEAD, SAMPLER])
    with pytest.raises(TooFew, match=r"0 nodes with sampler_node.*or say --cluster.roles off"):
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
    with pytest.raises(TooFew, match="the cluster has 0 CPUs and 0 GPUs"):
        place(config(), [HEAD])


def test_as_many_learners_as_are_asked_for_must_fit() -> None:
    assert place(config(min_learners=4), [LEARNER, SAMPLER]).concurrent_trials == 4
    for more in ({"min_learners": 5}, {"model_workers": 5}):
        with pytest.raises(TooFew, match="5 learners"):
            place(config(**more), [LEARNER, SAMPLER])


def test_shares_are_those_of_the_whole_cluster_before_it_is_there() -> None:
    shares = divide(config(), [HEAD, GPU])
    with pytest.raises(TooFew):
        place(config(), [PLAIN], shares)


def test_the_cloud_file_promises_its_node_types() -> None:
    growth = growth_of(AWS)
    assert growth.types == (
        ({"CPU": 8, "GPU": 1, "learner_node": 1}, 1),
        ({"CPU": 8, "GPU": 1, "sampler_node": 1}, 4),
    )
    assert growth.most == 5
    shares = divide(config(), [HEAD, *growth.nodes()])
    assert shares.roles
    asked = bundles(config(min_learners=2), shares)
    assert sum("sampler_node" in bundle for bundle in asked) == 2
    assert sum("GPU" in bundle and "learner_node" in bundle for bundle in asked) == 2


def test_machines_of_ones_own_are_known_when_they_have_joined() -> None:
    """Ray's own file of a `local` cluster says nothing of what its machines offer."""
    assert growth_of({**LOCAL, "available_node_types": {"local.cluster.node": {"resources": {}}}}) == Growth((), 2)


def test_only_a_cluster_that_is_joined_grows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:6379")
    assert growth_here() is None
    (tmp_path / "ray_bootstrap_config.yaml").write_text(yaml.safe_dump(AWS))
    assert growth_here() == growth_of(AWS)
    monkeypatch.delenv("RAY_ADDRESS")
    assert growth_here() is None

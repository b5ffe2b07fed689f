"""The AWS part of cluster.yaml against moto: Ray's own code completes it and launches a node of each type.

No request leaves this process. Drivers, quotas and the availability of spot machines are not tested.
"""

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
import yaml
from moto import mock_aws
from ray.autoscaler._private.aws.node_provider import AWSNodeProvider
from ray.autoscaler._private.util import prepare_config, validate_config
from ray.autoscaler.tags import TAG_RAY_NODE_KIND, TAG_RAY_USER_NODE_TYPE

FILE = Path(__file__).parents[2] / "cluster.yaml"
REGION = "us-west-2"
pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]  # it takes half a minute


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Client of a simulated AWS; keys and Ray's files lie in a temporary home."""
    with pytest.MonkeyPatch.context() as patch, mock_aws():
        home = tmp_path_factory.mktemp("home")
        (home / ".ssh").mkdir()
        for name, value in {"HOME": home, "AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x"}.items():
            patch.setenv(name, str(value))
        patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        patch.setenv("AWS_DEFAULT_REGION", REGION)
        yield boto3.client("ec2", REGION)


@pytest.fixture(scope="module")
def filled(cloud: Any) -> dict[str, Any]:
    """The file with every CHANGE-ME replaced by an existing resource."""
    group = cloud.create_security_group(GroupName="dwm-ray", Description="own")["GroupId"]
    profile = boto3.client("iam").create_instance_profile(InstanceProfileName="dwm-ray-head")["InstanceProfile"]
    image = cloud.describe_images(Owners=["amazon"])["Images"][0]["ImageId"]
    text = FILE.read_text().replace("sg-CHANGE-ME", group).replace("ami-CHANGE-ME", image)
    text = text.replace("arn:aws:iam::CHANGE-ME:instance-profile/dwm-ray-head", profile["Arn"])
    config: dict[str, Any] = yaml.safe_load(text)
    left = {name for name, value in config.items() if "CHANGE-ME" in yaml.safe_dump(value)}
    assert left <= {"initialization_commands", "docker", "setup_commands"}, "only storage may be left to name"
    return config


@pytest.fixture(scope="module")
def prepared(filled: dict[str, Any]) -> dict[str, Any]:
    """The file as `ray up` completes it before it launches nodes."""
    config = AWSNodeProvider.fillout_available_node_types_resources(prepare_config(filled))
    validate_config(config)
    return dict(AWSNodeProvider.bootstrap_config(copy.deepcopy(config)))


@pytest.fixture(scope="module")
def instances(prepared: dict[str, Any], cloud: Any) -> dict[str, dict[str, Any]]:
    """Type of node -> AWS's description of a launched instance."""
    provider = AWSNodeProvider(prepared["provider"], prepared["cluster_name"])
    for name, kind in prepared["available_node_types"].items():
        role = "head" if name == prepared["head_node_type"] else "worker"
        tags = {TAG_RAY_NODE_KIND: role, TAG_RAY_USER_NODE_TYPE: name}
        provider.create_node(copy.deepcopy(kind["node_config"]), tags, 1)
    result = [i for r in cloud.describe_instances()["Reservations"] for i in r["Instances"]]
    named = {next(tag["Value"] for tag in i["Tags"] if tag["Key"] == TAG_RAY_USER_NODE_TYPE): i for i in result}
    provider.terminate_nodes([i["InstanceId"] for i in result])
    return named


def test_ray_knows_the_resources_of_the_machines(prepared: dict[str, Any]) -> None:
    kinds = {name: kind["resources"] for name, kind in prepared["available_node_types"].items()}
    assert (kinds["head"]["CPU"], kinds["head"]["GPU"]) == (0, 0)
    for role in ("learner", "sampler"):
        resources = kinds[role]
        assert (resources["CPU"], resources["GPU"], resources[f"{role}_node"], resources["accelerator_type:A10G"]) == (
            8,
            1,
            1,
            1,
        )


def test_every_node_has_a_subnet_and_rays_key(prepared: dict[str, Any]) -> None:
    for kind in prepared["available_node_types"].values():
        assert kind["node_config"]["SubnetIds"]
        assert kind["node_config"]["KeyName"].startswith("ray-autoscaler")
    assert Path(prepared["auth"]["ssh_private_key"]).is_file()


def test_instances_match_the_file(instances: dict[str, dict[str, Any]], filled: dict[str, Any]) -> None:
    assert set(instances) == {"head", "learner", "sampler"}
    assert {name: i.get("InstanceLifecycle") for name, i in instances.items()} == {
        "head": None,
        "learner": None,
        "sampler": "spot",
    }
    for name, instance in instances.items():
        asked = filled["available_node_types"][name]["node_config"]
        assert instance["InstanceType"] == asked["InstanceType"]
        assert instance["MetadataOptions"]["HttpTokens"] == "required"
        assert [group["GroupId"] for group in instance["SecurityGroups"]] == asked["SecurityGroupIds"]
        assert ("IamInstanceProfile" in instance) is (name == "head"), "workers have no rights on AWS"


def test_ray_created_neither_group_nor_role(instances: dict[str, dict[str, Any]], cloud: Any) -> None:
    names = {group["GroupName"] for group in cloud.describe_security_groups()["SecurityGroups"]}
    assert names == {"default", "dwm-ray"}
    assert boto3.client("iam").list_roles()["Roles"] == []
    world = [
        permission
        for group in cloud.describe_security_groups()["SecurityGroups"]
        for permission in group["IpPermissions"]
        if any(span["CidrIp"] == "0.0.0.0/0" for span in permission["IpRanges"])
    ]
    assert world == []


def test_all_instances_are_terminated(instances: dict[str, dict[str, Any]], cloud: Any) -> None:
    states = [i["State"]["Name"] for r in cloud.describe_instances()["Reservations"] for i in r["Instances"]]
    assert states == ["terminated"] * 3

"""The cluster files: what Ray's own validation says of them offline, and what this project promises about them."""

from __future__ import annotations

import re
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from ray.autoscaler._private.util import prepare_config, validate_config

ROOT = Path(__file__).parents[2]
AWS, LOCAL = "cluster.yaml", "cluster-local.yaml"
BOTH = pytest.mark.parametrize("name", [AWS, LOCAL])


def load(name: str) -> dict[str, Any]:
    return yaml.safe_load((ROOT / name).read_text())


def start_commands(config: dict[str, Any]) -> list[str]:
    return config["head_start_ray_commands"] + config["worker_start_ray_commands"]


def head_start(config: dict[str, Any]) -> str:
    return next(command for command in config["head_start_ray_commands"] if "ray start" in command)


def pins() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pairs = (line.split("==") for line in lines if line and not line.startswith("#"))
    return {re.sub(r"[-_.]+", "-", name).lower(): version for name, version in pairs}


def project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


@BOTH
def test_ray_accepts_the_file(name: str) -> None:
    validate_config(prepare_config(load(name)))


def test_ray_refuses_a_share_of_a_gpu() -> None:
    config = load(AWS)
    config["available_node_types"]["sampler"]["resources"]["GPU"] = 0.5
    with pytest.raises(Exception, match="is not of type 'integer'"):
        validate_config(prepare_config(config))


@BOTH
def test_every_start_command_demands_the_token(name: str) -> None:
    config = load(name)
    for command in start_commands(config):
        assert re.match(r"export RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH=\S+/token; ", command)


@BOTH
def test_the_token_lies_where_it_is_delivered(name: str) -> None:
    config = load(name)
    paths = {re.search(r"RAY_AUTH_TOKEN_PATH=(\S+);", command)[1] for command in start_commands(config)}
    assert len(paths) == 1
    folder = paths.pop().removesuffix("/token").replace("$HOME", "~")
    assert config["file_mounts"][folder] == "~/.config/dwm_ray"


@BOTH
def test_dashboard_on_loopback_and_no_trial_on_the_head(name: str) -> None:
    command = head_start(load(name))
    assert "--dashboard-host=127.0.0.1" in command
    assert "--num-cpus=0 --num-gpus=0" in command


@BOTH
def test_nothing_is_open_to_the_world(name: str) -> None:
    values = yaml.safe_dump(load(name))
    assert "0.0.0.0" not in values
    assert "::/0" not in values


@BOTH
def test_nodes_install_the_pinned_project_that_is_mounted(name: str) -> None:
    config = load(name)
    mounted = next(remote for remote, local in config["file_mounts"].items() if local == "build/cluster")
    installs = [command for command in config["setup_commands"] if "pip install" in command]
    assert len(installs) == 1
    assert installs[0].endswith(f"pip install -q -c {mounted}/constraints.txt -e {mounted}")


@BOTH
def test_the_shared_folder_is_mounted_before_anything_starts(name: str) -> None:
    assert any("mountpoint -q /mnt/runs ||" in command for command in load(name)["initialization_commands"])


def test_image_carries_the_pinned_ray_and_a_python_of_the_project() -> None:
    image = load(AWS)["docker"]["image"]
    ray, python = re.fullmatch(r"rayproject/ray:(\d+\.\d+\.\d+)-py3(\d+)-gpu", image).groups()
    assert ray == pins()["ray"]
    assert SpecifierSet(project()["requires-python"]).contains(f"3.{python}")


def test_clients_in_the_container_use_the_token_of_the_start_commands() -> None:
    config = load(AWS)
    options = config["docker"]["run_options"]
    path = re.search(r"RAY_AUTH_TOKEN_PATH=(\S+);", head_start(config))[1]
    assert "--env RAY_AUTH_MODE=token" in options
    assert f"--env RAY_AUTH_TOKEN_PATH={path}" in options


def test_gpu_nodes_come_from_zero_and_go_when_idle() -> None:
    config = load(AWS)
    workers = {name: kind for name, kind in config["available_node_types"].items() if name != config["head_node_type"]}
    assert set(workers) == {"learner", "sampler"}
    assert config["idle_timeout_minutes"] <= 15
    for kind in workers.values():
        assert kind["min_workers"] == 0 < kind["max_workers"]
        assert kind["resources"]["GPU"] == 1
    assert sum(kind["max_workers"] for kind in workers.values()) == config["max_workers"]


def test_samplers_are_spot_and_learners_are_not() -> None:
    types = load(AWS)["available_node_types"]
    market = {name: kind["node_config"].get("InstanceMarketOptions") for name, kind in types.items()}
    assert market == {"head": None, "learner": None, "sampler": {"MarketType": "spot"}}


def test_each_worker_type_offers_its_role_only() -> None:
    types = load(AWS)["available_node_types"]
    offered = {name: {key for key in kind["resources"] if key.endswith("_node")} for name, kind in types.items()}
    assert offered == {"head": set(), "learner": {"learner_node"}, "sampler": {"sampler_node"}}


@pytest.mark.parametrize(("file", "offered"), [('{"sampler_node": 1}', '{"sampler_node": 1}'), (None, "{}")])
def test_a_machine_of_ones_own_offers_what_its_file_says(file: str | None, offered: str, tmp_path: Path) -> None:
    [command] = [text for text in load(LOCAL)["worker_start_ray_commands"] if "ray start" in text]
    if file:
        (tmp_path / ".dwm_ray_role").write_text(file + "\n")
    option = re.search(r'--resources="\$\(.*?\)"', command)[0]
    shell = ["bash", "-c", f"printf %s {option}"]
    said = subprocess.run(shell, env={"HOME": str(tmp_path)}, capture_output=True, text=True, check=True).stdout
    assert said == f"--resources={offered}"


def test_the_head_offers_nothing_and_is_alone() -> None:
    head = load(AWS)["available_node_types"]["head"]
    assert head["resources"] == {"CPU": 0, "GPU": 0}
    assert head["max_workers"] == 0


def test_ray_makes_neither_security_group_nor_role() -> None:
    """Ray's own group opens ssh to the internet, its own role may do anything on EC2."""
    types = load(AWS)["available_node_types"]
    assert all(kind["node_config"]["SecurityGroupIds"] for kind in types.values())
    assert "IamInstanceProfile" in types["head"]["node_config"]


def test_local_cluster_starts_all_its_machines() -> None:
    config = load(LOCAL)
    num_machines = len(config["provider"]["worker_ips"])
    assert (config["min_workers"], config["max_workers"]) == (num_machines, num_machines)
    assert "RAY_UP_enable_autoscaler_v2=0" in (ROOT / LOCAL).read_text()


def test_pins_satisfy_the_project() -> None:
    extras = project()["optional-dependencies"]
    wanted = [Requirement(text) for text in project()["dependencies"] + extras["test"] + extras["collect"]]
    assert len(wanted) > 20
    for requirement in wanted:
        pinned = pins()[re.sub(r"[-_.]+", "-", requirement.name).lower()]
        assert requirement.specifier.contains(pinned), f"{requirement} against the pin {pinned}"


def test_pins_fit_every_machine() -> None:
    """A build tag such as +cpu would make pip look for one build only."""
    assert not [pin for pin in pins().items() if "+" in pin[1]]

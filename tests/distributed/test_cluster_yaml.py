"""The cluster files, offline: Ray's own validation, and what this project promises about them."""

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
AWS = yaml.safe_load((ROOT / "cluster.yaml").read_text())
LOCAL = yaml.safe_load((ROOT / "cluster-local.yaml").read_text())
BOTH = pytest.mark.parametrize("config", [AWS, LOCAL], ids=["aws", "local"])
NODE_TYPES = AWS["available_node_types"]


def head_start(config: dict[str, Any]) -> str:
    return next(command for command in config["head_start_ray_commands"] if "ray start" in command)


def token_path(command: str) -> str:
    """The path of the token that a start command requires."""
    result = re.match(r"export RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH=(\S+/token); ", command)
    assert result, command
    return result[1]


def pins() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pairs = (line.split("==") for line in lines if line and not line.startswith("#"))
    return {re.sub(r"[-_.]+", "-", name).lower(): version for name, version in pairs}


def project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


@BOTH
def test_ray_accepts_the_file(config: dict[str, Any]) -> None:
    validate_config(prepare_config(config))


@BOTH
def test_every_start_command_requires_the_token_that_is_delivered(config: dict[str, Any]) -> None:
    commands = config["head_start_ray_commands"] + config["worker_start_ray_commands"]
    [path] = {token_path(command) for command in commands}
    assert config["file_mounts"][path.removesuffix("/token").replace("$HOME", "~")] == "~/.config/dwm_ray"


@BOTH
def test_the_dashboard_is_on_loopback_no_trial_on_the_head_and_nothing_open(config: dict[str, Any]) -> None:
    assert "--dashboard-host=127.0.0.1" in head_start(config)
    assert "--num-cpus=0 --num-gpus=0" in head_start(config)
    values = yaml.safe_dump(config)
    assert "0.0.0.0" not in values
    assert "::/0" not in values


@BOTH
def test_nodes_install_the_mounted_project_after_the_shared_folder_is_there(config: dict[str, Any]) -> None:
    mounted = next(remote for remote, local in config["file_mounts"].items() if local == "build/cluster")
    [install] = [command for command in config["setup_commands"] if "pip install" in command]
    assert install.endswith(f"pip install -q -c {mounted}/constraints.txt -e {mounted}")
    assert any("mountpoint -q /mnt/runs ||" in command for command in config["initialization_commands"])


def test_the_container_has_the_pinned_ray_and_the_token_of_the_start_commands() -> None:
    docker = AWS["docker"]
    ray, python = re.fullmatch(r"rayproject/ray:(\d+\.\d+\.\d+)-py3(\d+)-gpu", docker["image"]).groups()
    assert ray == pins()["ray"]
    assert SpecifierSet(project()["requires-python"]).contains(f"3.{python}")
    assert "--env RAY_AUTH_MODE=token" in docker["run_options"]
    assert f"--env RAY_AUTH_TOKEN_PATH={token_path(head_start(AWS))}" in docker["run_options"]


def test_gpu_nodes_scale_from_zero_and_terminate_when_idle() -> None:
    workers = {name: kind for name, kind in NODE_TYPES.items() if name != AWS["head_node_type"]}
    assert set(workers) == {"learner", "sampler"}
    assert AWS["idle_timeout_minutes"] <= 15
    for kind in workers.values():
        assert kind["min_workers"] == 0 < kind["max_workers"]
        assert kind["resources"]["GPU"] == 1
    assert sum(kind["max_workers"] for kind in workers.values()) == AWS["max_workers"]


def test_only_samplers_are_spot_and_every_worker_has_one_role() -> None:
    market = {name: kind["node_config"].get("InstanceMarketOptions") for name, kind in NODE_TYPES.items()}
    assert market == {"head": None, "learner": None, "sampler": {"MarketType": "spot"}}
    roles = {name: {key for key in kind["resources"] if key.endswith("_node")} for name, kind in NODE_TYPES.items()}
    assert roles == {"head": set(), "learner": {"learner_node"}, "sampler": {"sampler_node"}}
    head = NODE_TYPES["head"]
    assert (head["resources"], head["max_workers"]) == ({"CPU": 0, "GPU": 0}, 0)


@pytest.mark.parametrize(("file", "offered"), [('{"sampler_node": 1}', '{"sampler_node": 1}'), (None, "{}")])
def test_a_local_machine_offers_the_role_in_its_file(file: str | None, offered: str, tmp_path: Path) -> None:
    [command] = [text for text in LOCAL["worker_start_ray_commands"] if "ray start" in text]
    if file:
        (tmp_path / ".dwm_ray_role").write_text(file + "\n")
    option = re.search(r'--resources="\$\(.*?\)"', command)[0]
    shell = ["bash", "-c", f"printf %s {option}"]
    printed = subprocess.run(shell, env={"HOME": str(tmp_path)}, capture_output=True, text=True, check=True).stdout
    assert printed == f"--resources={offered}"


def test_the_local_cluster_starts_all_its_machines() -> None:
    num_machines = len(LOCAL["provider"]["worker_ips"])
    assert (LOCAL["min_workers"], LOCAL["max_workers"]) == (num_machines, num_machines)
    assert "RAY_UP_enable_autoscaler_v2=0" in (ROOT / "cluster-local.yaml").read_text()


def test_pins_satisfy_the_project() -> None:
    extras = project()["optional-dependencies"]
    texts = [*project()["dependencies"], *(text for extra in extras.values() for text in extra)]
    wanted = [requirement for text in texts if (requirement := Requirement(text)).name not in ("dwm-ray", "wandb")]
    assert len(wanted) > 20
    for requirement in wanted:
        pinned = pins()[re.sub(r"[-_.]+", "-", requirement.name).lower()]
        assert requirement.specifier.contains(pinned), f"{requirement} against the pin {pinned}"


def test_pins_fit_every_machine() -> None:
    """A build tag such as +cpu would restrict pip to one build."""
    assert not [pin for pin in pins().items() if "+" in pin[1]]

"""cluster-local.yaml for a network of hosts: with addresses, key, small object stores, and the packages of this Python
environment instead of `pip install`."""

import os
import shutil
import signal
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path
from typing import Any

import yaml
from machines import Network

ROOT = Path(__file__).parents[2]
PARTS = ("dwm_ray", "pipelines", "tune_spaces", "constraints.txt", "pyproject.toml")


def stage(build: Path) -> None:
    """Stage the project and a virtual environment for ~/dwm_ray of every host.

    The environment contains that project and the packages of the environment that runs the tests.
    """
    build.mkdir()
    for name in PARTS:
        source = ROOT / name
        copy = shutil.copytree if source.is_dir() else shutil.copy
        copy(source, build / name, **({"ignore": shutil.ignore_patterns("__pycache__")} if source.is_dir() else {}))
    venv.create(build / ".venv", symlinks=True, with_pip=False)
    [packages] = (build / ".venv" / "lib").glob("python3*/site-packages")
    (packages / "hosts.pth").write_text(f"../../../..\n{sysconfig.get_paths()['purelib']}\n")
    ray = build / ".venv" / "bin" / "ray"
    ray.write_text("#!/usr/bin/env python\nfrom ray.scripts.scripts import main\n\nmain()\n")
    ray.chmod(0o755)


def write_file(network: Network, build: Path, token_folder: Path) -> Path:
    """Write the file for `ray up`."""
    config = yaml.safe_load((ROOT / "cluster-local.yaml").read_text())
    head, *workers = (host.address for host in network.hosts.values())
    config["provider"].update(head_ip=head, worker_ips=workers)
    config["auth"] = {"ssh_user": "root", "ssh_private_key": str(network.folder / "id")}
    mounts = {"build/cluster": str(build), "~/.config/dwm_ray": str(token_folder)}
    config["file_mounts"] = {remote: mounts[local] for remote, local in config["file_mounts"].items()}
    installs = [command for command in config["setup_commands"] if "pip install" in command]
    assert len(installs) == 1
    config["setup_commands"].remove(installs[0])
    for commands in ("head_start_ray_commands", "worker_start_ray_commands"):
        config[commands] = [_small(command) for command in config[commands]]
    path = network.folder / "cluster-local.yaml"
    path.write_text(yaml.safe_dump(config))
    return path


def _small(command: str) -> str:
    """Return a command with sizes for hosts that share one machine."""
    return command.replace("ray start", "RAY_worker_niceness=0 ray start --object-store-memory=150000000")


class Operator:
    """Runs the documented commands on a computer of the network."""

    def __init__(self, network: Network, token: Path, log: Path) -> None:
        self._network, self._log = network, log
        self._env = {
            "HOME": str(network.folder / "operator"),
            "PATH": f"{Path(sys.executable).parent}:/usr/sbin:/usr/bin:/sbin:/bin",
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN_PATH": str(token),
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_UP_enable_autoscaler_v2": "0",
        }

    def ray(self, *args: str, code: int = 0, timeout_s: float = 900, **env: str) -> str:
        """Run `ray WORDS` and return its output."""
        process = self.begin(*args, **env)
        out = process.communicate(timeout=timeout_s)[0]
        with self._log.open("a") as log:
            log.write(f"$ ray {' '.join(args)}\n{out}\n")
        assert process.returncode == code, f"ray {' '.join(args)}: code {process.returncode}\n{out[-6000:]}"
        return str(out)

    def up(self, file: Path, max_tries: int = 3) -> int:
        """Run `ray up`, again if the head's `ray start` exceeds its limit of 30 s; return the number of tries."""
        for attempt in range(1, max_tries):
            process = self.begin("up", "-y", "--no-config-cache", str(file))
            out = process.communicate(timeout=900)[0]
            if process.returncode == 0:
                return attempt
            assert "timed out during startup" in out, out[-6000:]
        self.ray("up", "-y", "--no-config-cache", str(file))
        return max_tries

    def interrupt(self, process: subprocess.Popen[str]) -> None:
        """Interrupt a running command and the ssh processes that it started."""
        for pid in reversed(_family(process.pid)):
            os.kill(pid, signal.SIGINT)
        process.wait(timeout=60)

    def begin(self, *args: str, **env: str) -> subprocess.Popen[str]:
        """Start `ray WORDS`."""
        pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
        command = [*self._network.space.enter(), sys.executable, "-m", "ray.scripts.scripts", *args]
        return subprocess.Popen(command, env={**self._env, **env}, stdin=subprocess.DEVNULL, **pipes)


def _family(pid: int) -> list[int]:
    """Return a process and its descendants."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *(descendant for child in children for descendant in _family(int(child)))]

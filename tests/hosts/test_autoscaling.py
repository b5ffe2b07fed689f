"""The node types of cluster.yaml under Ray's fake provider: nodes join on request and terminate after the program.

The head, the autoscaler (version 2, as with `ray up cluster.yaml`), programs and requests are real. A "machine" is an
additional raylet in the same namespace, whose GPU is only a number. The provider and idle times are changed.
"""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from machines import NEW, Space, wait_until

pytestmark = [pytest.mark.hosts, pytest.mark.timeout(600)]

ROOT = Path(__file__).parents[2]
ADDRESS = "10.78.0.1"
IDLE_S = 10
HEAD_ID = "fffffffffffffffffffffffffffffffffffffffffffffffffff00000"


@dataclass
class Cloud:
    """A head whose autoscaler can start nodes."""

    space: Space
    folder: Path

    @property
    def env(self) -> dict[str, str]:
        # Other tests' settings of Ray, such as to listen on loopback only, are not for this head.
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "TUNE_"))}
        return {
            **kept,
            "HOME": str(self.folder),
            "PATH": f"{Path(sys.executable).parent}:/usr/sbin:/usr/bin:/sbin:/bin",
            "PYTHONPATH": str(ROOT),
            "RAY_AUTH_MODE": "disabled",
            "RAY_ADDRESS": f"{ADDRESS}:6379",
            "RAY_USAGE_STATS_ENABLED": "0",
        }

    def begin(self, *args: str, **env: str) -> subprocess.Popen[str]:
        """Start a Python program next to the head."""
        pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
        inside = [f"--wd={self.folder}", sys.executable, *args]
        entered = self.space.enter()
        return subprocess.Popen([*entered, *inside], env={**self.env, **env}, **pipes)

    def run(self, *args: str, code: int = 0, **env: str) -> str:
        process = self.begin(*args, **env)
        try:
            out = str(process.communicate(timeout=300)[0])
        except subprocess.TimeoutExpired as slow:
            process.kill()
            pytest.fail(f"{args} did not end: {slow.output!r}\n{self.logs()}")
        assert process.returncode == code, f"{out[-6000:]}\n{self.logs()}"
        return out

    def logs(self) -> str:
        """Return the last lines of the head's logs, which disappear with it."""
        names = "gcs_server.out gcs_server.err raylet.out raylet.err monitor.out monitor.log autoscaler.log"
        inside = ["bash", "-c", f"cd /tmp/ray/session_latest/logs && tail -n 12 {names}; df -h /tmp/ray /dev/shm"]
        done = subprocess.run([*self.space.enter(), *inside], capture_output=True, text=True, check=False)
        return done.stdout + done.stderr

    def nodes(self) -> int:
        """Count raylets, including the head's."""
        return sum("/raylet/raylet " in line for line in self.space.processes())

    def wait_for(self, nodes: int, steady_s: float = 0.0) -> float:
        """Wait until there have been so many nodes for `steady_s`; return the seconds."""
        since: list[float] = []

        def steady() -> bool:
            since[:] = (since or [time.monotonic()]) if self.nodes() == nodes else []
            return bool(since) and time.monotonic() - since[0] >= steady_s

        return wait_until(steady, f"{nodes} nodes for {steady_s:g} s", 240)

    def wait_for_head_only(self) -> None:
        """Wait until the nodes that a stopped program requested are gone; the last of them may still be joining."""
        self.wait_for(1, steady_s=5.0)


def fake(file: dict[str, Any]) -> dict[str, Any]:
    """Return cluster.yaml with Ray's fake provider instead of AWS."""
    types = dict(file["available_node_types"])
    types["ray.head.default"] = types.pop(file["head_node_type"])
    for kind in types.values():
        kind.update(node_config={}, idle_timeout_s=IDLE_S)
    provider = {
        "type": "external",
        "module": "ray.autoscaler._private.fake_multi_node.node_provider.FakeMultiNodeProvider",
        "use_node_id_as_ip": True,
        "disable_node_updaters": True,
        "disable_launch_config_check": True,
        "launch_multiple": True,
        "head_node_id": HEAD_ID,
    }
    kept = {name: file[name] for name in ("cluster_name", "max_workers", "upscaling_speed", "idle_timeout_minutes")}
    parts = ("initialization", "setup", "head_setup", "worker_setup", "head_start_ray", "worker_start_ray")
    nothing = {f"{part}_commands": [] for part in parts} | {"cluster_synced_files": [], "file_mounts": {}}
    named = {"available_node_types": types, "head_node_type": "ray.head.default"}
    return {**kept, **nothing, **named, "provider": provider, "auth": {"ssh_user": "nobody"}}


@pytest.fixture(scope="module")
def cloud(namespaces: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    folder = tmp_path_factory.mktemp("cloud")
    folder.chmod(0o755)
    mounts = "mkdir -p /tmp/ray && mount -t tmpfs tmpfs /tmp/ray && mount -t tmpfs -o size=1g tmpfs /dev/shm"
    card = f"ip link add eth0 type veth peer name other && ip addr add {ADDRESS}/24 dev eth0 && ip link set other up"
    route = (
        "ip link set eth0 up && ip link set lo up && ip route add default via 10.78.0.2"  # Ray looks for its way out
    )
    init = f"{mounts} && {card} && {route} && exec sleep infinity"
    cloud = Cloud(Space([*NEW, "bash", "-c", init], folder / "space.log"), folder)
    try:
        (folder / "ray_bootstrap_config.yaml").write_text(
            yaml.safe_dump(fake(yaml.safe_load((ROOT / "cluster.yaml").read_text())))
        )
        start = "start --head --num-cpus=0 --num-gpus=0 --port=6379 --dashboard-host=127.0.0.1"
        cloud.run(
            "-m",
            "ray.scripts.scripts",
            *start.split(),
            f"--autoscaling-config={folder}/ray_bootstrap_config.yaml",
            "--object-store-memory=100000000",
            RAY_FAKE_CLUSTER="1",
            AUTOSCALER_UPDATE_INTERVAL_S="1",
            RAY_enable_autoscaler_v2="1",
            RAY_CLOUD_INSTANCE_ID=HEAD_ID,
            RAY_OVERRIDE_NODE_ID_FOR_TESTING=HEAD_ID,
            RAY_DEFAULT_OBJECT_STORE_MAX_MEMORY_BYTES="100000000",
        )
        yield cloud
    finally:
        cloud.space.end()


def check(*more: str) -> list[str]:
    return [str(ROOT / "pipelines" / "train.py"), "--check-cluster", "--output", "runs", *more]


def test_a_program_on_a_bare_head_gets_its_nodes_and_releases_them(
    cloud: Cloud, capsys: pytest.CaptureFixture[str]
) -> None:
    """`--profile auto` counts GPUs of future nodes: two samplers and a learner of a quarter of a GPU each."""
    cloud.wait_for(1)
    start = time.monotonic()
    out = cloud.run(*check(), code=1)  # because the GPUs are only numbers
    took = time.monotonic() - start
    assert "nodes: waiting for room, 0 of at most 900 s; 1 nodes have joined" in out
    assert "16 CPUs, 2 GPUs; roles on" in out
    assert "3 nodes, 4 trials in parallel, 2 problems" in out
    assert len(re.findall("Ray counts 1 GPUs, torch can use 0", out)) == 2
    assert "nodes: the request is withdrawn" in out
    back = cloud.wait_for(1)
    with capsys.disabled():
        print(f"\nprogram: {took:.0f} s including the wait for nodes; scaled down {back:.0f} s after its end")


def test_a_stopped_program_withdraws_its_request(cloud: Cloud) -> None:
    """Sixteen samplers need several nodes, so the programs are stopped while they wait: one when nodes have joined."""
    for signal_sent, nodes in ((signal.SIGINT, 3), (signal.SIGTERM, None)):
        cloud.wait_for_head_only()
        process = cloud.begin(*check("--cluster.num-samplers", "16"))
        assert process.stdout is not None
        out = ""
        while "nodes: waiting for room" not in out:
            line = process.stdout.readline()
            assert line, out
            out += line
        if nodes:
            cloud.wait_for(nodes)
        [program] = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        os.kill(int(program), signal_sent)
        out += process.communicate(timeout=120)[0]
        assert process.returncode != 0
        assert "nodes: the request is withdrawn" in out, out[-3000:]
    cloud.wait_for_head_only()


def test_more_nodes_than_the_file_allows_are_refused_at_once(cloud: Cloud) -> None:
    cloud.wait_for_head_only()
    out = cloud.run(*check("--cluster.num-samplers", "17"), code=2)
    assert "too few for 17 samplers" in out
    assert cloud.nodes() == 1


def test_a_timeout_for_nodes_ends_the_program(cloud: Cloud) -> None:
    out = cloud.run(*check("--cluster.wait-for-nodes-s", "0"), code=1)
    assert "no room on the cluster's 1 nodes after cluster.wait_for_nodes_s = 0 s" in out
    assert "nodes: the request is withdrawn" in out

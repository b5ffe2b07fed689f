"""`ray up cluster-local.yaml` on three hosts, a sweep as a job that survives the loss of one, and `ray down`.

The tests are consecutive steps; the seconds that they measure are printed at the end.
"""

import json
import re
import secrets
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from local_cluster import Operator, stage, write_file
from machines import Network, wait_until
from tiny_task import recording

pytestmark = [pytest.mark.hosts, pytest.mark.timeout(1800)]
PATIENCE_S = 600
"""Timeout of every step; the machine may be busy."""

API = "http://127.0.0.1:8265"
NUM_SEGMENTS, BLOCK_ROWS = 60_000, 1024
NUM_BLOCKS = -(-NUM_SEGMENTS // BLOCK_ROWS)
SWEEP = f"""
    --profile laptop --task pendulum --data /mnt/runs/pendulum.hdf5 --output /mnt/runs/out
    --world-model dwm --dimensions horizon --seeds 1 --agents td3_bc --no-baselines --population 1
    --world-model.denoiser mlp --world-model.dim 64 --world-model.multipliers 2 --world-model.num-updates 60
    --world-model.batch-size 32 --world-model.diffusion-steps 20 --world-model.solver-steps 20
    --synthesis.num-segments {NUM_SEGMENTS} --synthesis.block-rows {BLOCK_ROWS}
    --replay.min-synthetic {NUM_SEGMENTS} --replay.patience-s 1200
    --training.num-updates 300 --training.log-every 100 --training.checkpoint-every 100
    --evaluation.every 1000 --evaluation.num-episodes 1 --evaluation.curve-episodes 1
"""
"""Learning starts when the stream is complete, so no trial can end without the sampler that is lost in the middle."""
ON_HEAD = {"SyntheticReplayBuffer"}
ON_LEARNERS = {"ImplicitFunc", "RayTrainWorker"}


@dataclass
class Site:
    """The three hosts, and the operator who runs the commands."""

    network: Network
    operator: Operator
    file: Path
    figures: dict[str, float] = field(default_factory=dict)
    seen: dict[str, set[str]] = field(default_factory=dict)
    """Host -> classes of Ray's processes seen there."""
    tunnel: Any = None
    """`ray dashboard`, which has a process on the head while it runs."""

    def look(self) -> dict[str, set[str]]:
        """Return {host: classes of Ray's processes there now}."""
        result = {}
        for name, host in self.network.hosts.items():
            titles = (re.match(r"ray::(\w+)", line) for line in host.space.processes())
            result[name] = {title[1] for title in titles if title}
            self.seen.setdefault(name, set()).update(result[name])
        return result

    def blocks(self) -> int:
        return len(list(self.network.share.glob("out/*/streams/*/block-*.parquet")))

    def timed(self, name: str, started: float) -> None:
        self.figures[name] = round(time.monotonic() - started, 1)


@pytest.fixture(scope="module")
def site(ssh: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Start a head and two workers, one per role, by `ray up`."""
    folder = tmp_path_factory.mktemp("hosts")
    secret = folder / "secret"
    secret.mkdir(mode=0o700)
    (secret / "token").write_text(secrets.token_hex(32))
    stage(folder / "build")
    with Network(folder) as network:
        recording(network.share / "pendulum.hdf5")
        for number, (name, role) in enumerate(ROLES.items()):
            network.boot(name, number, role)
        operator = Operator(network, secret / "token", folder / "operator.log")
        site = Site(network, operator, write_file(network, folder / "build", secret))
        start = time.monotonic()
        site.figures["ray_up_attempts"] = operator.up(site.file)
        site.timed("ray_up_s", start)
        site.tunnel = operator.begin("dashboard", str(site.file))
        wait_until(lambda: "8265" in network.sh("ss -tln").stdout, "the tunnel to the dashboard", 60)
        yield site
    site.tunnel.wait(timeout=60)


ROLES = {"head": None, "learner": '{"learner_node": 1}', "sampler": '{"sampler_node": 1}'}


def job(site: Site, *args: str, code: int = 0) -> str:
    return site.operator.ray("job", "submit", "--address", API, "--", *args, code=code)


def test_workers_join_with_their_roles(site: Site) -> None:
    def joined() -> bool:
        status = site.operator.ray("exec", str(site.file), "ray status")
        return bool(re.search(r"/1\.0 learner_node", status) and re.search(r"/1\.0 sampler_node", status))

    start = time.monotonic()
    wait_until(joined, "both workers", PATIENCE_S, 3)
    site.timed("join_after_up_s", start)


def test_clients_without_the_token_are_refused(site: Site) -> None:
    out = site.operator.ray("job", "list", "--address", API, code=1, RAY_AUTH_MODE="disabled")
    assert re.search("401|[Uu]nauth|token", out), out


def test_the_dashboard_listens_on_the_heads_loopback_only(site: Site) -> None:
    head = site.network.hosts["head"]
    listening = site.network.ssh("head", "ss -tln")
    assert "127.0.0.1:8265" in listening
    assert not re.search(rf"({re.escape(head.address)}|0\.0\.0\.0|\*):8265", listening)


def test_the_cluster_is_checked_host_by_host(site: Site) -> None:
    start = time.monotonic()
    check = ("python", "dwm_ray/pipelines/train.py", "--check-cluster", "--output", "/mnt/runs")
    out = job(site, *check)
    site.timed("check_cluster_s", start)
    assert "3 nodes, 2 trials in parallel, 0 problems" in out
    assert "roles on: samplers on nodes with sampler_node, learners on nodes with learner_node" in out
    for host in site.network.hosts.values():
        assert re.search(rf"{host.name} +{re.escape(host.address)} +same .* shared", out), out
    mounts = site.network.hosts["sampler"].space.enter("mount")
    subprocess.run([*mounts, "umount", "/mnt/runs"], check=True)
    out = job(site, *check, code=1)
    assert re.search(r"sampler \(10\.77\.0\.12\): storage: /mnt/runs is not the driver's", out), out
    assert "3 nodes, 2 trials in parallel, 1 problems" in out
    subprocess.run([*mounts, "mount", "--bind", site.network.share, "/mnt/runs"], check=True)
    assert [path.name for path in site.network.share.iterdir()] == ["pendulum.hdf5"], "a check leaves nothing"


def test_a_sweep_survives_the_loss_of_its_samplers_host(site: Site) -> None:
    start = time.monotonic()
    submitted = site.operator.begin(
        "job", "submit", "--address", API, "--", "python", "dwm_ray/pipelines/sweep.py", *SWEEP.split()
    )

    def generating() -> bool:
        assert submitted.poll() is None, submitted.communicate()[0][-6000:]
        site.look()
        return site.blocks() >= NUM_BLOCKS // 6

    wait_until(generating, "the first blocks", PATIENCE_S)
    site.timed("job_until_kill_s", start)
    before = site.look()
    site.network.hosts["sampler"].kill()
    killed, left = time.monotonic(), site.blocks()
    assert left < NUM_BLOCKS, "the host must be killed in the middle"
    site.network.boot("sampler", 2, ROLES["sampler"])
    wait_until(lambda: site.look()["sampler"] & {"Sampler"}, "a sampler on the restarted host", PATIENCE_S, 1)
    wait_until(lambda: site.blocks() > left + 1, "new blocks", PATIENCE_S, 0.2)
    site.timed("kill_until_new_blocks_s", killed)
    out = submitted.communicate(timeout=PATIENCE_S)[0]
    assert submitted.returncode == 0, out[-6000:]
    site.timed("job_s", start)
    assert "Sampler" in before["sampler"]
    assert_results(site, out)


def assert_results(site: Site, out: str) -> None:
    [run] = (site.network.share / "out").iterdir()
    results = json.loads((run / "results.json").read_text())
    assert [trial["status"] for trial in results["trials"]] == ["done", "done"]
    assert results["counters"]["segments_consumed"] == 2 * NUM_SEGMENTS
    assert (results["counters"]["world_models_trained"], results["counters"]["streams_generated"]) == (1, 1)
    assert site.blocks() == NUM_BLOCKS
    assert "roles on" in out


def test_samplers_and_learners_run_on_different_hosts(site: Site) -> None:
    assert site.seen["head"] >= ON_HEAD
    assert site.seen["learner"] >= ON_LEARNERS
    assert not site.seen["head"] & (ON_LEARNERS | {"Sampler"}), site.seen
    assert not site.seen["sampler"] & (ON_LEARNERS | ON_HEAD), site.seen
    assert not site.seen["learner"] & {"Sampler", *ON_HEAD}, site.seen


def test_ray_down_leaves_no_process(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    site.operator.interrupt(site.tunnel)
    start = time.monotonic()
    site.operator.ray("down", "-y", str(site.file))
    for name in ("learner", "sampler"):  # as documented: `ray down` stops the head only
        site.network.ssh(name, "ray stop")
    site.timed("down_s", start)
    left = {name: running(site, name) for name in site.network.hosts}
    site.figures["processes_left"] = sum(map(len, left.values()))
    with capsys.disabled():
        print(f"\nthree hosts: {json.dumps(site.figures)}")
    assert not any(left.values()), left


def running(site: Site, name: str) -> list[str]:
    """Return processes of a host except sshd's; processes that are ending get some time."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        left = [line for line in site.network.hosts[name].space.processes() if "sshd" not in line]
        if not left:
            break
        time.sleep(0.5)
    return left

"""Check every node of a cluster before a run: versions, GPUs, clock, and access to the run's folder or storage.

One actor is pinned to each alive node. Clocks are compared as in NTP: the node's time is assigned to the middle of the
request's round trip, and the fastest of several requests counts.
"""

import hashlib
import platform
import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
import torch
from ray.exceptions import GetTimeoutError, RayError, RayTaskError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

import dwm_ray
from dwm_ray.runs.probe import find_probe, folder_probe, probe_file
from dwm_ray.runs.storage import Storage

TIMEOUT_S = 90.0
"""Timeout of a node's first answer: its worker process imports Ray and torch, perhaps from a network file system."""
CLOCK_REQUESTS = 8
MAX_SKEW_S = 1.0
"""With a larger skew, logs of several nodes cannot be ordered and modification times may be in the future."""


@dataclass(frozen=True)
class Facts:
    """State of one node, measured by a process on it."""

    versions: dict[str, str]
    gpus: tuple[str, ...]
    """Name and memory of each GPU that torch can use."""
    free_bytes: int
    """Free bytes of the disk for temporary files, where Ray writes logs and spilled objects."""
    storage: str | None
    """Reason why the run's folder or storage cannot be used, or None."""
    storage_s: float | None = None
    """Seconds to write, read and delete a small file there."""


@dataclass(frozen=True)
class Node:
    """Node as reported by Ray, and its facts."""

    name: str
    address: str
    cpus: float
    gpus: float
    facts: Facts | None
    skew_s: float = 0.0
    """The node's clock minus the driver's."""
    error_s: float = 0.0
    """Uncertainty of the skew: half of the round trip."""
    error: str | None = None
    """Reason if there are no facts."""

    def problems(self, driver: Facts) -> list[str]:
        """Return every problem that would make a run fail, one line each."""
        if self.facts is None:
            return [self.error or "no answer"]
        problems = [
            f"{name} is {self.facts.versions.get(name)}, the driver has {version}"
            for name, version in driver.versions.items()
            if self.facts.versions.get(name) != version
        ]
        if len(self.facts.gpus) < self.gpus:
            problems.append(f"Ray counts {self.gpus:g} GPUs, torch can use {len(self.facts.gpus)}")
        if abs(self.skew_s) - self.error_s > MAX_SKEW_S:
            problems.append(f"its clock is {self.skew_s:+.1f} s from the driver's; expected at most {MAX_SKEW_S:g} s")
        return problems + ([f"storage: {self.facts.storage}"] if self.facts.storage else [])


class Inspector:
    """Actor on the node that it inspects."""

    def facts(self, probe: str) -> Facts:
        return local_facts(probe)

    def clock(self) -> float:
        return time.time()


def inspect_cluster(output: Path, storage: str | None = None) -> tuple[Facts, list[Node]]:
    """Return the driver's facts and every alive node; raise ValueError if the driver cannot write to the storage."""
    alive = sorted((node for node in ray.nodes() if node["Alive"]), key=lambda node: str(node["NodeManagerHostname"]))
    with folder_probe(output) if storage is None else probe_file(Storage.parse(storage), "--storage") as probe:
        inspectors = [_start_inspector(node["NodeID"]) for node in alive]
        answers = [inspector.facts.remote(probe) for inspector in inspectors]
        ray.wait(answers, num_returns=len(answers), timeout=TIMEOUT_S)  # one timeout for all nodes together
        nodes = list(map(_node, alive, inspectors, answers))
        return local_facts(probe), nodes


def local_facts(probe: str) -> Facts:
    gpus = tuple(_gpu(index) for index in range(torch.cuda.device_count()))
    free = shutil.disk_usage(tempfile.gettempdir()).free
    return Facts(local_versions(), gpus, free, *find_probe(probe))


def local_versions() -> dict[str, str]:
    """Return the versions that must be equal on all nodes; dwm_ray's includes a fingerprint of its files."""
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "ray": ray.__version__,
        "dwm_ray": f"{dwm_ray.__version__}-{code_fingerprint(Path(dwm_ray.__file__).parent)}",
    }


def code_fingerprint(package: Path) -> str:
    """Return 8 hex digits of the names and contents of all Python files below a folder."""
    digest = hashlib.sha256()
    for path in sorted(package.rglob("*.py")):
        digest.update(str(path.relative_to(package)).encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:8]


def clock_skew(remote: Callable[[], float], local: Callable[[], float] = time.time) -> tuple[float, float]:
    """Return (skew, uncertainty), both in seconds, of the `remote` clock against the `local` one."""
    trips = []
    for _ in range(CLOCK_REQUESTS):
        sent, remote_time, received = local(), remote(), local()
        trips.append(((received - sent) / 2, remote_time - (sent + received) / 2))
    uncertainty, skew = min(trips)
    return skew, uncertainty


def _gpu(index: int) -> str:
    properties = torch.cuda.get_device_properties(index)
    return f"{properties.name} {properties.total_memory / 2**30:.0f} GiB"


def _start_inspector(node_id: str) -> Any:
    pinned = NodeAffinitySchedulingStrategy(node_id, soft=False)
    return ray.remote(Inspector).options(num_cpus=0, scheduling_strategy=pinned).remote()


def _node(ray_node: dict[str, Any], inspector: Any, answer: Any) -> Node:
    """Return a node with its answer or the reason why there is none; the timeout of the answer has passed."""
    resources = ray_node["Resources"]
    name, address = ray_node["NodeManagerHostname"], ray_node["NodeManagerAddress"]
    entry = (name, address, resources.get("CPU", 0.0), resources.get("GPU", 0.0))
    try:
        facts = ray.get(answer, timeout=1.0)
        skew = clock_skew(lambda: float(ray.get(inspector.clock.remote(), timeout=10.0)))
    except GetTimeoutError:
        return Node(*entry, None, error=f"no answer within {TIMEOUT_S:g} s; see the node's logs in the Ray dashboard")
    except RayError as error:
        lines = str(error.cause if isinstance(error, RayTaskError) else error).strip().splitlines()
        return Node(*entry, None, error=f"no process can run there: {(lines or ['unknown'])[-1].strip()}")
    finally:
        ray.kill(inspector)
    return Node(*entry, facts, *skew)

"""Look at every node of a cluster before a run does: the versions, hardware, clock and storage that it will meet there.

One small actor is pinned to each alive node. Storage is the run's --output: the driver puts a file with a random text
there, and a node must read that text at the same path and be able to write beside it; so a folder of the same name that
is another one is found out. Clocks are compared as NTP does: a node's time belongs to the middle of the question's
round trip, and of several questions the fastest counts. With --storage the text is put there, and each node writes,
reads and deletes a small file of its own.
"""

from __future__ import annotations

import hashlib
import platform
import secrets
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
import torch
from ray.exceptions import GetTimeoutError, RayError, RayTaskError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

import dwm_ray
from dwm_ray.runs.storage import Storage, StorageFailed

ANSWER_S = 90.0
"""Patience with a node: its first worker process imports Ray and torch, from a share perhaps."""
CLOCK_QUESTIONS = 8
MOST_SKEW_S = 1.0
"""Beyond it, logs of several nodes cannot be put in order, and files seem to come from the future."""
TOKEN = "token"


@dataclass(frozen=True)
class Facts:
    """What one process sees of its node."""

    versions: dict[str, str]
    gpus: tuple[str, ...]
    """Name and memory of each GPU that torch can use."""
    free_bytes: int
    """On the disk of temporary files, where Ray puts logs and what does not fit in memory."""
    storage: str | None
    """Why the run's folder or storage is no good here; None where it is the driver's and can be written."""
    storage_s: float | None = None
    """Seconds to write, read back and delete a small file there; None for a folder."""


@dataclass(frozen=True)
class Node:
    """One node as Ray knows it, with what was found there."""

    name: str
    address: str
    cpus: float
    gpus: float
    facts: Facts | None
    skew_s: float = 0.0
    """Its clock minus the driver's."""
    error_s: float = 0.0
    """How far off that may be: half of the round trip."""
    silence: str | None = None
    """Why there are no facts."""

    def problems(self, driver: Facts) -> list[str]:
        """All that would break a run, one line each."""
        if self.facts is None:
            return [self.silence or "no answer"]
        found = [
            f"{name} is {self.facts.versions.get(name)}, the driver has {version}"
            for name, version in driver.versions.items()
            if self.facts.versions.get(name) != version
        ]
        if len(self.facts.gpus) < self.gpus:
            found.append(f"Ray counts {self.gpus:g} GPUs, torch can use {len(self.facts.gpus)}")
        if abs(self.skew_s) - self.error_s > MOST_SKEW_S:
            found.append(f"its clock is {self.skew_s:+.1f} s from the driver's, expected at most {MOST_SKEW_S:g} s")
        return found + ([f"storage: {self.facts.storage}"] if self.facts.storage else [])


class Inspector:
    """Lives on the node that it looks at."""

    def facts(self, meeting: str, token: str) -> Facts:
        return facts_here(meeting, token)

    def clock(self) -> float:
        return time.time()


def inspect_cluster(output: Path, storage: str | None = None) -> tuple[Facts, list[Node]]:
    """(the driver's facts, every alive node) of the cluster that this process is connected to. ValueError where the
    driver itself cannot write `output`, or `storage` where there is one."""
    alive = sorted((node for node in ray.nodes() if node["Alive"]), key=lambda node: str(node["NodeManagerHostname"]))
    with meeting_place(output) if storage is None else meeting_in(storage) as (meeting, token):
        inspectors = [_inspector(node["NodeID"]) for node in alive]
        answers = [inspector.facts.remote(str(meeting), token) for inspector in inspectors]
        ray.wait(answers, num_returns=len(answers), timeout=ANSWER_S)  # for all nodes together, not one after another
        nodes = [_node(*each) for each in zip(alive, inspectors, answers, strict=True)]
        return facts_here(meeting, token), nodes


@contextmanager
def meeting_place(output: Path) -> Iterator[tuple[str, str]]:
    """(folder, token): a folder below `output` that holds the token; all that was made is gone afterwards. ValueError
    where it cannot be made."""
    missing = [path for path in (output, *output.parents) if not path.exists()]
    try:
        output.mkdir(parents=True, exist_ok=True)
        meeting = Path(tempfile.mkdtemp(prefix=".check-", dir=output)).resolve()
    except OSError as error:
        raise ValueError(f"--output {output}: cannot write there ({error.strerror})") from error
    meeting.chmod(0o777)  # a node's user may be another one, as it may be in a run
    token = secrets.token_hex(16)
    (meeting / TOKEN).write_text(token)
    try:
        yield str(meeting), token
    finally:
        shutil.rmtree(meeting)
        with suppress(OSError):  # somebody else has begun to use it
            for path in missing:
                path.rmdir()


@contextmanager
def meeting_in(address: str) -> Iterator[tuple[str, str]]:
    """(address of a file, token) in a storage that holds the token meanwhile. ValueError where it cannot be written."""
    name, token = f".check-{secrets.token_hex(8)}", secrets.token_hex(16)
    try:
        storage = Storage.parse(address)
        storage.write(name, token.encode())
    except StorageFailed as error:
        raise ValueError(f"--storage: {error}") from error
    try:
        yield storage.child(name).address, token
    finally:
        storage.delete(name)


def facts_here(meeting: str, token: str) -> Facts:
    """What this process sees."""
    problem, seconds = reach(meeting, token)
    gpus = tuple(_gpu(index) for index in range(torch.cuda.device_count()))
    free = shutil.disk_usage(tempfile.gettempdir()).free
    return Facts(versions_here(), gpus, free, problem, seconds)


def reach(meeting: str, token: str) -> tuple[str | None, float | None]:
    """(why this process does not reach the driver's folder or storage, seconds of a round trip to a storage)."""
    if "://" not in meeting:
        return storage_problem(Path(meeting), token), None
    place = Storage.parse(meeting)
    try:
        if place.parent.read(place.name).decode() != token:
            return f"{place.parent} is another storage than the driver's", None
        return None, place.parent.probe()
    except FileNotFoundError:
        return f"{place.parent} is another storage than the driver's: what the driver wrote is not there", None
    except StorageFailed as error:
        return str(error), None


def versions_here() -> dict[str, str]:
    """Versions that must be equal on all nodes; that of dwm_ray comes with a fingerprint of its files."""
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "ray": ray.__version__,
        "dwm_ray": f"{dwm_ray.__version__}-{code_fingerprint(Path(dwm_ray.__file__).parent)}",
    }


def code_fingerprint(package: Path) -> str:
    """8 hex digits of the names and contents of all Python files below a folder."""
    digest = hashlib.sha256()
    for path in sorted(package.rglob("*.py")):
        digest.update(str(path.relative_to(package)).encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:8]


def storage_problem(meeting: Path, token: str) -> str | None:
    """Why this process cannot share the driver's folder, or None. An empty folder of that name on a local disk, a
    share that is not mounted and one that is read-only are told apart."""
    if not meeting.parent.is_dir():
        return f"{meeting.parent} does not exist here"
    try:
        if (meeting / TOKEN).read_text() != token:
            return f"{meeting.parent} is another folder than the driver's"
        with tempfile.NamedTemporaryFile(dir=meeting) as file:
            file.write(token.encode())
    except FileNotFoundError:
        return f"{meeting.parent} is another folder than the driver's: what the driver wrote is not there"
    except OSError as error:
        return f"{meeting.parent}: {error.strerror}"
    return None


def clock_skew(ask: Callable[[], float], here: Callable[[], float] = time.time) -> tuple[float, float]:
    """(skew, most error), both in seconds, of the clock that `ask` reads against `here`."""
    best = (0.0, float("inf"))
    for _ in range(CLOCK_QUESTIONS):
        sent = here()
        there = ask()
        received = here()
        best = min(best, (there - (sent + received) / 2, (received - sent) / 2), key=lambda pair: pair[1])
    return best


def _gpu(index: int) -> str:
    about = torch.cuda.get_device_properties(index)
    return f"{about.name} {about.total_memory / 2**30:.0f} GiB"


def _inspector(node_id: str) -> Any:
    pinned = NodeAffinitySchedulingStrategy(node_id, soft=False)
    return ray.remote(Inspector).options(num_cpus=0, scheduling_strategy=pinned).remote()


def _node(about: dict[str, Any], inspector: Any, answer: Any) -> Node:
    """A node with its answer, or with why there is none. Called when all had their time, so it waits no longer."""
    resources = about["Resources"]
    known = (
        about["NodeManagerHostname"],
        about["NodeManagerAddress"],
        resources.get("CPU", 0.0),
        resources.get("GPU", 0.0),
    )
    try:
        facts = ray.get(answer, timeout=1.0)
        skew = clock_skew(lambda: float(ray.get(inspector.clock.remote(), timeout=10.0)))
    except GetTimeoutError:
        return Node(*known, None, silence=f"no answer within {ANSWER_S:g} s; see the node's logs in the Ray dashboard")
    except RayError as error:
        why = str(error.cause if isinstance(error, RayTaskError) else error).strip().splitlines()
        return Node(*known, None, silence=f"no process can run there: {(why or ['unknown'])[-1].strip()}")
    finally:
        ray.kill(inspector)
    return Node(*known, facts, *skew)

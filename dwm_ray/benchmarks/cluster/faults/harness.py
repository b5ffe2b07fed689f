"""A cluster on this machine, sweeps on it in processes of their own, and the processes of their actors."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import ray
from ray.util.state import list_actors, list_placement_groups

from dwm_ray.distributed.cluster import settings
from dwm_ray.runs.folder import RunFailed
from dwm_ray.runs.processes import below, title_of

NUM_CPUS = 2
PATIENCE_S = 900.0
"""For anything that should happen; the machine may be busy."""
CLEANING_S = 60.0
"""For what a run leaves to go away."""
GROUP = "placement group"
RAYS_OWN = ("_AutoscalingCoordinatorActor",)
"""Actors that Ray keeps for the cluster."""
SAMPLER, BUFFER, LEARNER, TRIAL = "Sampler", "SyntheticReplayBuffer", "RayTrainWorker", "ImplicitFunc"
"""Classes of actors."""


@contextmanager
def own_cluster() -> Iterator[str]:
    """Address of a cluster that lives as long as this. Its processes give freed memory back to the kernel at once, so
    that a limit on a process is one on what it uses, not on what it has ever used."""
    os.environ |= {"MALLOC_MMAP_THRESHOLD_": str(2**20), "ARROW_DEFAULT_MEMORY_POOL": "system"}
    about: dict[str, Any] = {"include_dashboard": True, "dashboard_host": "127.0.0.1", "log_to_driver": False}
    settings.apply()
    about |= {"logging_level": logging.WARNING, "runtime_env": settings.RUNTIME_ENV}
    context = ray.init(address="local", num_cpus=NUM_CPUS, **about)
    try:
        yield str(context.address_info["gcs_address"])
    finally:
        ray.shutdown()


def wait(true: Callable[[], Any], what: str, patience_s: float = PATIENCE_S) -> Any:
    """What `true` returns as soon as it is not empty. RunFailed where that takes too long."""
    deadline = time.monotonic() + patience_s
    while not (found := true()):
        if time.monotonic() > deadline:
            raise RunFailed(f"waited {patience_s:g} s in vain: {what}")
        time.sleep(0.1)
    return found


@dataclass(frozen=True)
class Sweep:
    """A sweep in a process of its own, and the folder that it writes into."""

    process: subprocess.Popen[bytes]
    run: Path
    output: Path
    """Where its lines go."""

    def ended(self) -> int:
        """Exit code, when it is over."""
        return int(self.process.wait(PATIENCE_S))

    def said(self) -> str:
        return self.output.read_text()

    def wait(self, true: Callable[[], Any], what: str) -> Any:
        """`wait`, while the sweep goes on. RunFailed where it ends before."""

        def going_on() -> Any:
            over = self.process.poll() is not None
            found = true()
            if over and not found:
                raise RunFailed(f"the sweep ended early, before {what}: {self.said()[-2000:]}")
            return found

        return wait(going_on, what)

    def interrupt(self) -> None:
        self.process.send_signal(signal.SIGINT)


@dataclass
class Arena:
    """Where faults are provoked. `words` choose the data; `program` is `pipelines/sweep.py`."""

    address: str
    folder: Path
    program: Path
    words: tuple[str, ...]
    tell: Callable[[str], None] = lambda text: None
    _count: int = 0
    _processes: list[subprocess.Popen[bytes]] = field(default_factory=list)
    _pids: dict[int, str] = field(default_factory=dict)
    """Processes of actors that were seen, and what they were."""
    _before: set[str] = field(default_factory=set)
    """Actors and placement groups that were there first."""

    def __post_init__(self) -> None:
        self._before = set(self._actors()) | set(self._groups())

    def sweep(self, *words: str, output: Path | None = None) -> Sweep:
        """Start one and wait for its run folder."""
        runs = output or self.folder / f"runs-{self._count}"
        started = self._start("--output", str(runs), *self.words, *words)
        folders = started.wait(lambda: list(runs.glob("*/config.json")), "a run folder")
        return Sweep(started.process, folders[0].parent, started.output)

    def resume(self, run: Path) -> Sweep:
        started = self._start("--resume", str(run))
        return Sweep(started.process, run, started.output)

    def _start(self, *words: str) -> Sweep:
        self._count += 1
        output = self.folder / f"sweep-{self._count}.txt"
        env = {**os.environ, "RAY_ADDRESS": self.address}
        if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # in a background job, whose children would inherit it
            signal.signal(signal.SIGINT, signal.default_int_handler)
        with output.open("w") as file:
            command = [sys.executable, str(self.program), *words]
            process = subprocess.Popen(command, stdout=file, stderr=file, env=env, start_new_session=True)
        self._processes.append(process)
        return Sweep(process, Path(), output)

    def end_all(self) -> None:
        """Kill what a scenario that broke off has left running."""
        for process in self._processes:
            if process.poll() is None:
                process.kill()
                process.wait()

    def pids(self, actor_class: str, name: str = "") -> list[int]:
        """Processes of the alive actors of a class; their sweep is the only one that runs. They must descend from this
        process, which has started the cluster: no others are ever touched."""
        found = list_actors(address=self.address, filters=[("state", "=", "ALIVE")], detail=True, limit=1000)
        found = [a for a in found if a.actor_id not in self._before and a.pid and below(a.pid, os.getpid())]
        self._pids |= {actor.pid: actor.class_name for actor in found}
        return [a.pid for a in found if actor_class in a.class_name and (not name or a.name == name)]

    def kill(self, actor_class: str, name: str = "") -> float:
        """SIGKILL one of these processes; returns when."""
        pid = wait(lambda: self.pids(actor_class, name), f"an actor of class {actor_class}")[0]
        self.tell(f"SIGKILL to {actor_class} {name} (process {pid})")
        os.kill(pid, signal.SIGKILL)
        return time.time()

    def left(self) -> tuple[str, ...]:
        """What is still there a while after a sweep has ended: actors, placement groups, processes of actors."""
        return tuple(self.remains().values())

    def remains(self) -> dict[str, str]:
        """The same, by its id: empty as soon as nothing is there, else what is after a while."""
        deadline = time.monotonic() + CLEANING_S
        while (found := self._there()) and time.monotonic() < deadline:
            time.sleep(0.5)
        return found

    def unfreed(self, remains: dict[str, str]) -> tuple[str, ...]:
        """All of them but placement groups that are gone now: a later program frees those and nothing else."""
        groups = self._groups()
        return tuple(what for key, what in remains.items() if key in groups or not what.startswith(GROUP))

    def _there(self) -> dict[str, str]:
        there = {**self._actors(), **self._groups()}
        processes = {str(pid): f"process of {name}" for pid, name in self._pids.items() if _works(pid, name)}
        return {key: what for key, what in there.items() if key not in self._before} | processes

    def _actors(self) -> dict[str, str]:
        """Those that are not dead."""
        found = list_actors(address=self.address, filters=[("state", "!=", "DEAD")], limit=1000)
        return {actor.actor_id: f"actor {actor.class_name}" for actor in found if actor.class_name not in RAYS_OWN}

    def _groups(self) -> dict[str, str]:
        found = list_placement_groups(address=self.address, filters=[("state", "!=", "REMOVED")], limit=1000)
        return {group.placement_group_id: f"{GROUP} ({group.state.lower()})" for group in found}


def _works(pid: int, name: str) -> bool:
    """Is the process still the actor's? Ray gives none back to the pool, so it must be gone."""
    words = title_of(pid)
    return name not in RAYS_OWN and words.startswith("ray::") and "IDLE" not in words

"""Fault harness: a cluster on this machine, sweeps in separate processes, and the processes of their actors."""

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

import psutil
import ray
from ray.util.state import list_actors, list_placement_groups

from dwm_ray.distributed.cluster import settings
from dwm_ray.runs.folder import RunFailed

NUM_CPUS = 2
PATIENCE_S = 900.0
"""Longest wait for an expected event; the machine may be busy."""
CLEANUP_S = 60.0
"""Time in which everything that a run has started must end."""
GROUP = "placement group"
INTERNAL = ("_AutoscalingCoordinatorActor",)
"""Actors of Ray itself, which live as long as the cluster."""
SAMPLER, BUFFER, LEARNER, TRIAL = "Sampler", "SyntheticReplayBuffer", "RayTrainWorker", "ImplicitFunc"
"""Classes of actors."""


@contextmanager
def own_cluster() -> Iterator[str]:
    """Start a cluster and yield its address. Its processes return freed memory to the kernel immediately, so that a
    memory limit applies to memory in use."""
    os.environ |= {"MALLOC_MMAP_THRESHOLD_": str(2**20), "ARROW_DEFAULT_MEMORY_POOL": "system"}
    options: dict[str, Any] = {"include_dashboard": True, "dashboard_host": "127.0.0.1", "log_to_driver": False}
    settings.apply()
    options["logging_level"] = logging.WARNING
    context = ray.init(address="local", num_cpus=NUM_CPUS, **options)
    try:
        yield str(context.address_info["gcs_address"])
    finally:
        ray.shutdown()


def wait(condition: Callable[[], Any], event: str, patience_s: float = PATIENCE_S) -> Any:
    """Return the result of `condition` as soon as it is true. Raise RunFailed after `patience_s`."""
    deadline = time.monotonic() + patience_s
    while not (result := condition()):
        if time.monotonic() > deadline:
            raise RunFailed(f"{event}: not seen within {patience_s:g} s")
        time.sleep(0.1)
    return result


@dataclass(frozen=True)
class Sweep:
    """A sweep in a separate process."""

    process: subprocess.Popen[bytes]
    run: Path
    """Its run folder."""
    log: Path
    """File with its output."""

    def exit_code(self) -> int:
        """Wait for the end and return the exit code."""
        return int(self.process.wait(PATIENCE_S))

    def output(self) -> str:
        return self.log.read_text(encoding="utf-8")

    def wait(self, condition: Callable[[], Any], event: str) -> Any:
        """Wait for a condition (see `wait`). Raise RunFailed if the sweep ends first."""

        def checked() -> Any:
            ended = self.process.poll() is not None
            result = condition()
            if ended and not result:
                raise RunFailed(f"the sweep ended before {event}: {self.output()[-2000:]}")
            return result

        return wait(checked, event)


@dataclass
class FaultHarness:
    """Start sweeps, kill processes of their actors and find leftovers."""

    address: str
    folder: Path
    program: Path
    """`pipelines/sweep.py`."""
    args: tuple[str, ...]
    """Command-line arguments that select the data."""
    log: Callable[[str], None] = lambda text: None
    _processes: list[subprocess.Popen[bytes]] = field(default_factory=list)
    _actor_pids: dict[int, str] = field(default_factory=dict)
    """Process ids of actors seen so far -> class of the actor."""
    _before: set[str] = field(default_factory=set)
    """Actors and placement groups that existed at the start."""

    def __post_init__(self) -> None:
        self._before = set(self._actors()) | set(self._groups())

    def sweep(self, *args: str, output: Path | None = None) -> Sweep:
        """Start a sweep and wait for its run folder."""
        runs = output or self.folder / f"runs-{len(self._processes)}"
        sweep = self._start("--output", str(runs), *self.args, *args)
        folders = sweep.wait(lambda: list(runs.glob("*/config.json")), "a run folder")
        return Sweep(sweep.process, folders[0].parent, sweep.log)

    def resume(self, run: Path) -> Sweep:
        sweep = self._start("--resume", str(run))
        return Sweep(sweep.process, run, sweep.log)

    def _start(self, *args: str) -> Sweep:
        log = self.folder / f"sweep-{len(self._processes)}.txt"
        env = {**os.environ, "RAY_ADDRESS": self.address}
        if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # in a background job, whose children would inherit it
            signal.signal(signal.SIGINT, signal.default_int_handler)
        with log.open("w", encoding="utf-8") as file:
            command = [sys.executable, str(self.program), *args]
            process = subprocess.Popen(command, stdout=file, stderr=file, env=env, start_new_session=True)
        self._processes.append(process)
        return Sweep(process, Path(), log)

    def end_all(self) -> None:
        """Kill sweeps that a failed scenario has left running."""
        for process in self._processes:
            if process.poll() is None:
                process.kill()
                process.wait()

    def pids(self, actor_class: str, name: str = "") -> list[int]:
        """Return the process ids of the living actors of a class. Only descendants of this process, which has started
        the cluster, are considered."""
        actors = list_actors(address=self.address, filters=[("state", "=", "ALIVE")], detail=True, limit=1000)
        descendants = {process.pid for process in psutil.Process().children(recursive=True)}
        actors = [actor for actor in actors if actor.actor_id not in self._before and actor.pid in descendants]
        self._actor_pids |= {actor.pid: actor.class_name for actor in actors}
        return [actor.pid for actor in actors if actor_class in actor.class_name and (not name or actor.name == name)]

    def kill(self, actor_class: str, name: str = "") -> float:
        """Send SIGKILL to the process of one such actor and return the time."""
        pid = wait(lambda: self.pids(actor_class, name), f"an actor of class {actor_class}")[0]
        self.log(f"SIGKILL to {actor_class} {name} (process {pid})")
        os.kill(pid, signal.SIGKILL)
        return time.time()

    def leftovers(self) -> tuple[str, ...]:
        """Return actors, placement groups and processes of actors that remain after the end of a sweep."""
        return tuple(self.remains().values())

    def remains(self) -> dict[str, str]:
        """Return {id: description} of the leftovers after `CLEANUP_S`, or an empty dict as soon as there are none."""
        deadline = time.monotonic() + CLEANUP_S
        while (present := self._present()) and time.monotonic() < deadline:
            time.sleep(0.5)
        return present

    def not_released(self, leftovers: dict[str, str]) -> tuple[str, ...]:
        """Return the leftovers without placement groups that are gone now: a later program releases only those."""
        groups = self._groups()
        return tuple(text for name, text in leftovers.items() if name in groups or not text.startswith(GROUP))

    def _present(self) -> dict[str, str]:
        present = {**self._actors(), **self._groups()}
        processes = {str(pid): f"process of {name}" for pid, name in self._actor_pids.items() if _is_actor(pid, name)}
        return {key: description for key, description in present.items() if key not in self._before} | processes

    def _actors(self) -> dict[str, str]:
        actors = list_actors(address=self.address, filters=[("state", "!=", "DEAD")], limit=1000)
        return {actor.actor_id: f"actor {actor.class_name}" for actor in actors if actor.class_name not in INTERNAL}

    def _groups(self) -> dict[str, str]:
        groups = list_placement_groups(address=self.address, filters=[("state", "!=", "REMOVED")], limit=1000)
        return {group.placement_group_id: f"{GROUP} ({group.state.lower()})" for group in groups}


def _is_actor(pid: int, name: str) -> bool:
    """Return whether a process still runs its actor; Ray does not reuse the processes of actors."""
    try:
        title = " ".join(psutil.Process(pid).cmdline())
    except psutil.NoSuchProcess:
        return False
    return name not in INTERNAL and title.startswith("ray::") and "IDLE" not in title

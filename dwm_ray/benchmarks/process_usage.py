"""What a program and all processes below it use, looked at while they run.

What a process uses between the last look and its end is missed: at two looks a second, a few tenths of a second of the
many that a process of Ray needs to start. One whose parent ends is still looked at.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from dwm_ray.runs.background import in_background
from dwm_ray.runs.processes import Stat, all_stats, below, status_bytes, title_of

LOOK_S = 0.5
PROGRAM, WORKER, SAMPLER, TRIAL, RAYLET = "the program", "worker of Ray Train", "sampler", "trial (Tune)", "raylet"
UNUSED, HELPER, SERVICE = "unused worker of Ray", "controller or helper of Ray Train", "service of Ray"
ACTOR = r"ray::([\w-]+:)?"
"""Ray puts the name of an actor that has one before its class."""
KINDS = {
    r"\S*/raylet\b": RAYLET,
    rf"{ACTOR}RayTrainWorker": WORKER,
    rf"{ACTOR}Sampler": SAMPLER,
    rf"{ACTOR}SyntheticReplayBuffer": "buffer",
    rf"{ACTOR}Leases": "leases",
    rf"{ACTOR}ImplicitFunc": TRIAL,
    r"ray::IDLE|\S*python\S* .*default_worker\.py": UNUSED,
    r"ray::\w*Agent\b": SERVICE,
    r"ray::": HELPER,
}
"""What a title begins with -> kind of process; the first that fits."""
PASSING = (UNUSED, SERVICE, RAYLET)
"""What a process may only seem to be: a worker before it has its work, a child that still has its parent's title."""


@dataclass
class Process:
    """One process, as far as it was seen."""

    kind: str
    title: str
    since: float
    """When it was first seen as this kind, in seconds since 1970; a worker of Ray is first of no use, then an actor."""
    until: float = 0.0
    """When it was seen last."""
    cpu_s: float = 0.0
    peak_bytes: int = 0
    """Most memory that it held; what it shares with others counts for each."""
    shared_bytes: int = 0
    """Most shared memory that it held: what it has ever written to or read from the object store, as far as that does
    not lie at the same place. Who writes all blocks has touched all that was ever in use."""


class Census:
    """The processes below `root`, and itself."""

    def __init__(self, root: int) -> None:
        self._root = root
        self._seen: dict[tuple[int, int], Process] = {}

    @property
    def processes(self) -> list[Process]:
        return list(self._seen.values())

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Look at them again and again, in the background."""
        with in_background("census", self._watch):
            yield

    def _watch(self, stop: threading.Event) -> None:
        while not stop.wait(LOOK_S):
            self.look()

    def look(self) -> None:
        """Once."""
        stats, now = all_stats(), time.time()
        for stat in stats.values():
            if (stat.pid, stat.born) in self._seen or below(stat.pid, self._root, stats):
                self._note(stat, now)

    def _note(self, stat: Stat, now: float) -> None:
        title = title_of(stat.pid)
        kind = PROGRAM if stat.pid == self._root else kind_of(title)
        known = self._seen.get((stat.pid, stat.born))
        if known is None or known.kind in PASSING:
            known = self._seen[(stat.pid, stat.born)] = _renamed(known, kind, title, now)
        sizes = status_bytes(stat.pid, "VmHWM", "RssShmem")
        known.until, known.cpu_s = now, stat.cpu_s
        known.peak_bytes = max(known.peak_bytes, sizes.get("VmHWM", 0))
        known.shared_bytes = max(known.shared_bytes, sizes.get("RssShmem", 0))


def _renamed(known: Process | None, kind: str, title: str, now: float) -> Process:
    """A process that is new, or may have become something else; one that ends loses its title, and keeps its kind."""
    if known is None:
        return Process(kind, title, now)
    if title and kind != known.kind:
        known.kind, known.title, known.since = kind, title, now
    return known


def kind_of(title: str) -> str:
    """By the title that a process gives itself; whatever else there is on such a cluster serves it."""
    return next((kind for pattern, kind in KINDS.items() if re.match(pattern, title)), SERVICE)

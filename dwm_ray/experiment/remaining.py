"""Estimate the remaining time of a whole run.

The work of a phase is counted in CPU seconds, which do not depend on other programs. Work that has not started is
estimated from other phases: of the same method, or of another one by its relative cost. The wall-clock time follows
from a simulation of the processes that share the CPUs. The seconds after the last trial are a constant.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from dwm_ray.experiment.phases import Phase

MIN_EFFICIENCY = 0.5
"""CPU seconds per second below which the CPU seconds of a process are incomplete: those before a restart are
missing."""

END_S = 5.0
"""Seconds from the last trial to the end of the program, on two free cores: the end of the cluster and the report."""

TRUSTED = 0.25
"""Fraction of a phase after which only its own speed is used."""


@dataclass(frozen=True)
class Total:
    """Progress of a whole run."""

    fraction: float
    remaining_s: float | None
    """Wall-clock seconds until the end; None before a phase of each kind has logged its speed."""


@dataclass(frozen=True)
class Resources:
    """Resources that the processes of a run share."""

    processes: int = 1
    """Learners or world models that can run at once."""
    cpus: float = math.inf
    start_s: float = 0.0
    """Seconds that a learner takes to start."""
    end_s: float = 0.0
    """Seconds that follow the last trial."""


def total_of(phases: Sequence[Phase], num_trials: int, resources: Resources = Resources()) -> Total:
    """Return the progress of all phases, weighted by their work; planned trials without a folder have not started."""
    known = [phase for phase in phases if phase.fraction is not None]
    missing = num_trials - sum(phase.kind == "learner" for phase in known)
    known += [Phase("learner", f"trial {number}", False, 0, 1, None) for number in range(missing)]
    if not known:
        return Total(0.0, None)
    work = Work.of(known)
    weights = np.array([work.of_phase(phase) or work.mean for phase in known])
    left = weights * (1 - np.array([phase.fraction for phase in known], float))
    started = any(phase.done for phase in known)
    estimable = started and all(work.of_phase(phase) for phase in known if phase.fraction != 1)
    done = 1 - (float(left.sum()) + resources.end_s) / (float(weights.sum()) + resources.end_s)
    return Total(done, _wall_s(known, left, resources) / work.efficiency + resources.end_s if estimable else None)


@dataclass(frozen=True)
class Work:
    """CPU seconds of whole phases."""

    efficiency: float
    """Most CPU seconds per second of any phase; 1 if phases have logged no CPU seconds."""
    known: dict[str, float]
    """Mean over the phases with a known speed, by label and by kind."""
    learners: list[tuple[Phase, float]]
    """Learners with a known speed and a known relative cost, and their work."""

    @staticmethod
    def of(phases: Sequence[Phase]) -> Work:
        ratios = [phase.cpu_s / phase.seconds for phase in phases if phase.cpu_s and phase.seconds and phase.done]
        work = Work(max(ratios, default=1.0), {}, [])
        names = {name for phase in phases for name in (phase.kind, phase.label)}
        means = {name: _mean(work.measured(p) for p in phases if name in (p.kind, p.label)) for name in names}
        learners = [(phase, cost) for phase in phases if phase.relative_cost and (cost := work.measured(phase))]
        return Work(work.efficiency, {name: mean for name, mean in means.items() if mean}, learners)

    @property
    def mean(self) -> float:
        return _mean(self.known.values()) or 1.0

    def measured(self, phase: Phase) -> float | None:
        """Return the work of a phase at its speed so far; None before its first row."""
        if not phase.seconds or not phase.fraction:
            return None
        scaled = phase.seconds * self.efficiency
        cpu_s = scaled if phase.cpu_s is None else max(phase.cpu_s, MIN_EFFICIENCY * scaled)
        return cpu_s / phase.fraction

    def by_relative_cost(self, phase: Phase) -> float | None:
        """Return the work that the learners of other methods predict by relative cost."""
        others = [(cost, other.relative_cost or 0.0) for other, cost in self.learners if other.place != phase.place]
        if not others or not phase.relative_cost:
            return None
        return phase.relative_cost * sum(cost for cost, _ in others) / sum(relative for _, relative in others)

    def of_phase(self, phase: Phase) -> float | None:
        """Return the work of a phase, estimated from others if it has not started.

        The first quarter of a phase contains few evaluations, so its own speed is combined with that of others.
        """
        by_relative_cost = self.by_relative_cost(phase)
        if (own := self.measured(phase)) is None or phase.fraction is None:
            return self.known.get(phase.label) or by_relative_cost or self.known.get(phase.kind)
        trust = min(1.0, phase.fraction / TRUSTED)
        return own if by_relative_cost is None else trust * own + (1 - trust) * by_relative_cost


def _wall_s(phases: Sequence[Phase], left: np.ndarray, resources: Resources) -> float:
    """Return the seconds until all processes have ended: running ones continue, then populations start in their order.

    `left` [phases] is the remaining work of each phase. Members of a population are at the same update. Trials
    of a method that has not started are one population, unless their places are known.
    """
    running, waiting, streams = dict[object, float](), dict[object, float](), list[float]()
    places: dict[object, float] = {}
    for phase, seconds in zip(phases, left.tolist(), strict=True):
        if phase.kind == "stream":
            streams.append(seconds)
        elif phase.running and phase.done:
            key = (phase.members, phase.done) if phase.members > 1 else (phase.label, len(running))
            running[key] = running.get(key, 0.0) + seconds
        elif seconds > 0:
            group = phase.label if phase.place is None else phase.place
            waiting[group] = waiting.get(group, 0.0) + seconds
            places[group] = math.inf if phase.place is None else phase.place
    order = sorted(waiting, key=lambda group: (places[group], -waiting[group]))
    queue = [waiting[group] + resources.start_s for group in order]
    return _makespan([*running.values()], queue, streams, resources)


def _makespan(running: list[float], queue: list[float], streams: list[float], resources: Resources) -> float:
    """Return the seconds until all work is done by processes that share the CPUs equally.

    `queue` waits for the end of `running`; `streams` need no process of their own.
    """
    running, queue, streams, time = [*running], [*queue], [*streams], 0.0
    while True:
        while queue and len(running) < resources.processes:
            running.append(queue.pop(0))
        if not running and not streams:
            return time
        speed = min(1.0, resources.cpus / (len(running) + len(streams)))
        step = min([*running, *streams])
        time += step / speed
        running, streams = ([left - step for left in jobs if left > step] for jobs in (running, streams))


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None

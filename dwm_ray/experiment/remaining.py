"""Estimate the remaining time of a whole run.

The cost of a phase is its CPU time, which does not depend on other programs. The cost before a phase has started is
estimated from other phases: of the same method, or of another method by their relative costs. The wall-clock time
follows from a simulation of the processes that share the CPUs. The seconds after the last trial are a constant.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from dwm_ray.experiment.phases import Phase

MIN_EFFICIENCY = 0.5
"""Minimum CPU seconds per second; smaller values are incomplete, because those before a restart are missing."""

END_S = 5.0
"""Seconds from the last trial to the end of the program, on two free cores: the end of the cluster and the report."""

TRUSTED = 0.25
"""Fraction of a phase after which only its own speed is used."""


@dataclass(frozen=True)
class RunProgress:
    """Progress of a whole run."""

    fraction: float
    remaining_s: float | None
    """Wall-clock seconds until the end; None before a phase of each kind has logged its speed."""


@dataclass(frozen=True)
class Resources:
    """Resources that the processes of a run share."""

    processes: int = 1
    """Learners or world models that can run in parallel."""
    cpus: float = math.inf
    start_s: float = 0.0
    """Seconds that a learner takes to start."""
    end_s: float = 0.0
    """Seconds that follow the last trial."""


def estimate_progress(phases: Sequence[Phase], num_trials: int, resources: Resources = Resources()) -> RunProgress:
    """Return the progress of all phases, weighted by their costs; planned trials without a folder have not started."""
    known = [phase for phase in phases if phase.fraction is not None]
    missing = num_trials - sum(phase.kind == "learner" for phase in known)
    known += [Phase("learner", f"trial {number}", False, 0, 1, None) for number in range(missing)]
    if not known:
        return RunProgress(0.0, None)
    costs = Costs.of(known)
    weights = np.array([costs.of_phase(phase) or costs.mean for phase in known])
    remaining = weights * (1 - np.array([phase.fraction for phase in known], float))
    has_begun = any(phase.done for phase in known)
    estimable = has_begun and all(costs.of_phase(phase) for phase in known if phase.fraction != 1)
    done = 1 - (float(remaining.sum()) + resources.end_s) / (float(weights.sum()) + resources.end_s)
    return RunProgress(
        done, _wall_s(known, remaining, resources) / costs.efficiency + resources.end_s if estimable else None
    )


@dataclass(frozen=True)
class Costs:
    """CPU seconds of whole phases."""

    efficiency: float
    """Most CPU seconds per second of any phase; 1 if phases have logged no CPU seconds."""
    means: dict[str, float]
    """Mean over the phases with a known speed, by label and by kind."""
    learners: list[tuple[Phase, float]]
    """Learners with a known speed and a known relative cost, and their costs."""

    @staticmethod
    def of(phases: Sequence[Phase]) -> Costs:
        ratios = [phase.cpu_s / phase.seconds for phase in phases if phase.cpu_s and phase.seconds and phase.done]
        costs = Costs(max(ratios, default=1.0), {}, [])
        names = {name for phase in phases for name in (phase.kind, phase.label)}
        means = {name: _mean(costs.measured(p) for p in phases if name in (p.kind, p.label)) for name in names}
        learners = [(phase, cost) for phase in phases if phase.relative_cost and (cost := costs.measured(phase))]
        return Costs(costs.efficiency, {name: mean for name, mean in means.items() if mean}, learners)

    @property
    def mean(self) -> float:
        return _mean(self.means.values()) or 1.0

    def measured(self, phase: Phase) -> float | None:
        """Return the cost of a phase at its speed so far; None before its first row."""
        if not phase.seconds or not phase.fraction:
            return None
        scaled = phase.seconds * self.efficiency
        cpu_s = scaled if phase.cpu_s is None else max(phase.cpu_s, MIN_EFFICIENCY * scaled)
        return cpu_s / phase.fraction

    def by_relative_cost(self, phase: Phase) -> float | None:
        """Return the cost of a phase as estimated from learners of other methods by relative cost."""
        references = [
            (cost, other.relative_cost or 0.0) for other, cost in self.learners if other.position != phase.position
        ]
        if not references or not phase.relative_cost:
            return None
        return phase.relative_cost * sum(cost for cost, _ in references) / sum(relative for _, relative in references)

    def of_phase(self, phase: Phase) -> float | None:
        """Return the cost of a phase, estimated from others if it has not started.

        The first quarter of a phase contains few evaluations, so its own speed is combined with that of others.
        """
        by_relative_cost = self.by_relative_cost(phase)
        if (measured := self.measured(phase)) is None or phase.fraction is None:
            return self.means.get(phase.label) or by_relative_cost or self.means.get(phase.kind)
        trust = min(1.0, phase.fraction / TRUSTED)
        return measured if by_relative_cost is None else trust * measured + (1 - trust) * by_relative_cost


def _wall_s(phases: Sequence[Phase], remaining: np.ndarray, resources: Resources) -> float:
    """Return the seconds until all processes have ended: running ones continue, then populations start in their order.

    `remaining` [phases] is the remaining cost of each phase. Members of a population are at the same update. Trials
    of a method that has not started are one population, unless their positions are known.
    """
    running, waiting, streams = dict[object, float](), dict[object, float](), list[float]()
    positions: dict[object, float] = {}
    for phase, seconds in zip(phases, remaining.tolist(), strict=True):
        if phase.kind == "stream":
            streams.append(seconds)
        elif phase.running and phase.done:
            key = (phase.members, phase.done) if phase.members > 1 else (phase.label, len(running))
            running[key] = running.get(key, 0.0) + seconds
        elif seconds > 0:
            group = phase.label if phase.position is None else phase.position
            waiting[group] = waiting.get(group, 0.0) + seconds
            positions[group] = math.inf if phase.position is None else phase.position
    order = sorted(waiting, key=lambda group: (positions[group], -waiting[group]))
    queue = [waiting[group] + resources.start_s for group in order]
    return _makespan([*running.values()], queue, streams, resources)


def _makespan(running: list[float], queue: list[float], streams: list[float], resources: Resources) -> float:
    """Return the seconds until all processes, which share the CPUs equally, have ended.

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
        running, streams = ([seconds - step for seconds in jobs if seconds > step] for jobs in (running, streams))


def _mean(values: Iterable[float | None]) -> float | None:
    numbers = [value for value in values if value is not None]
    return float(np.mean(numbers)) if numbers else None

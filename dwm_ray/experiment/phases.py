"""Phases of a run - world models, streams, learners - with the fraction done and the remaining time.

Times are estimates from the mean speed so far.
"""

import heapq
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from dwm_ray.evaluation.evaluators import ranked, ranked_name
from dwm_ray.experiment.names import method_name, world_model_label
from dwm_ray.experiment.run_state import ENDED, ModelState, RunState, StreamState, TrialState

Kind = Literal["world model", "stream", "learner"]


@dataclass(frozen=True)
class Phase:
    """Progress of a world model, a stream or a trial's learner."""

    kind: Kind
    label: str
    """Name of the model, stream or method; trials of one method have the same label."""
    running: bool
    done: int
    total: int | None
    """Total number of updates or blocks; None if unknown."""
    seconds: float | None
    """Seconds spent so far; for a member of a population, its fraction of the process time."""
    members: int = 1
    """Trials that learn in the same process."""
    rate: float | None = None
    """Updates or rows per second of the process."""
    score: float | None = None
    """Latest score of a trial, or its estimate."""
    score_name: str = "score"

    @property
    def fraction(self) -> float | None:
        return None if self.total is None else min(self.done / max(self.total, 1), 1.0)

    @property
    def cost_s(self) -> float | None:
        """Return the seconds of the whole phase at its speed so far; None before its first row."""
        return self.seconds / self.fraction if self.seconds and self.fraction else None

    @property
    def remaining_s(self) -> float | None:
        """Return the wall-clock seconds until a running phase ends; None if unknown."""
        if not self.running or self.cost_s is None or self.fraction is None:
            return None
        return self.cost_s * (1 - self.fraction) * self.members


def phases_of(state: RunState) -> list[Phase]:
    """Return world models, streams, then trials."""
    return [
        *map(model_phase, state.models),
        *map(stream_phase, state.streams),
        *map(trial_phase, state.trials),
    ]


def model_phase(model: ModelState) -> Phase:
    done, seconds = int(model.row.get("update", 0)), model.row.get("seconds")
    total = done if model.trained else model.total
    label = f"world model {world_model_label(model.name) if model.name else model.folder.name[:10]}"
    return Phase(
        "world model", label, not model.trained, done, total, seconds, rate=done / seconds if seconds else None
    )


def stream_phase(stream: StreamState) -> Phase:
    total = stream.blocks if stream.complete else None if stream.spec is None else stream.spec.num_blocks
    seconds = stream.rows / stream.rows_per_s if stream.rows and stream.rows_per_s else None
    running = not stream.complete and stream.blocks > 0
    label = f"stream {stream.folder.name[:10] if stream.spec is None else f'for RTG {stream.spec.target_rtg}'}"
    return Phase("stream", label, running, stream.blocks, total, seconds, rate=stream.rows_per_s)


def trial_phase(trial: TrialState) -> Phase:
    done = trial.total if trial.status in ENDED else trial.update
    return Phase(
        "learner",
        method_name(trial.config) if "agent" in trial.config else trial.folder.name,
        trial.status == "running",
        done,
        trial.total,
        trial.row.get("seconds"),
        int(trial.row.get("num_members", 1)),
        trial.row.get("updates_per_s"),
        ranked(trial.evaluation),
        ranked_name(trial.evaluation),
    )


@dataclass(frozen=True)
class Group:
    """Phases with the same label, shown as one line, such as all trials of a method."""

    kind: Kind
    label: str
    phases: tuple[Phase, ...]

    @property
    def running(self) -> bool:
        return any(phase.running for phase in self.phases)

    @property
    def fraction(self) -> float | None:
        fractions = [phase.fraction for phase in self.phases]
        return None if None in fractions else float(np.mean(np.array(fractions, float)))

    @property
    def remaining_s(self) -> float | None:
        """Return the wall-clock seconds until the running phases end; None if unknown."""
        return max((phase.remaining_s for phase in self.phases if phase.remaining_s is not None), default=None)

    @property
    def rate(self) -> float | None:
        """Return the updates or rows per second of all running phases."""
        rates = [phase.rate / phase.members for phase in self.phases if phase.running and phase.rate]
        return sum(rates) if rates else None

    @property
    def scores(self) -> list[float]:
        """Return the latest scores of the trials."""
        return [phase.score for phase in self.phases if phase.score is not None]


def grouped(phases: Iterable[Phase]) -> list[Group]:
    """Group phases by label, in the order of their first phase."""
    found: dict[tuple[Kind, str], list[Phase]] = {}
    for phase in phases:
        found.setdefault((phase.kind, phase.label), []).append(phase)
    return [Group(kind, label, tuple(members)) for (kind, label), members in found.items()]


@dataclass(frozen=True)
class Total:
    """Progress of a whole run."""

    fraction: float
    remaining_s: float | None
    """Wall-clock seconds until the end; None before a phase of each kind has logged its speed."""


def total_of(phases: Sequence[Phase], num_trials: int, processes: int = 1) -> Total:
    """Return the progress of all phases, weighted by cost; planned trials without a folder have not started.

    Up to `processes` learners or world models run in parallel.
    """
    known = [phase for phase in phases if phase.fraction is not None]
    missing = num_trials - sum(phase.kind == "learner" for phase in known)
    known += [Phase("learner", f"trial {number}", False, 0, 1, None) for number in range(missing)]
    if not known:
        return Total(0.0, None)
    costs = _known_costs(known)
    mean_cost = _mean(costs.values()) or 1.0
    weights = np.array([_cost(phase, costs) or mean_cost for phase in known])
    fractions = np.array([phase.fraction for phase in known], float)
    left = weights * (1 - fractions)
    estimable = all(_cost(phase, costs) for phase in known if phase.fraction != 1) and not _is_idle(known)
    done = 1 - float(left.sum()) / float(weights.sum())
    return Total(done, _makespan(known, left, processes) if estimable else None)


def _is_idle(phases: Sequence[Phase]) -> bool:
    """Return whether nothing has started yet."""
    return all(phase.done == 0 for phase in phases)


def _makespan(phases: Sequence[Phase], left: np.ndarray, processes: int) -> float:
    """Return the seconds until all processes have ended: running ones continue, then methods start one by one.

    `left` [phases] contains the remaining process seconds of each phase. Members of a population have the same number
    of updates. Trials of a method that has not started form one population. Streams are generated in parallel.
    """
    running, waiting, beside = dict[object, float](), dict[str, float](), 0.0
    for phase, seconds in zip(phases, left.tolist(), strict=True):
        if phase.kind == "stream":
            beside = max(beside, seconds)
        elif phase.running and phase.done:
            key = (phase.members, phase.done) if phase.members > 1 else (phase.label, len(running))
            running[key] = running.get(key, 0.0) + seconds
        elif seconds > 0:
            waiting[phase.label] = waiting.get(phase.label, 0.0) + seconds
    ends = [*sorted(running.values()), *[0.0] * max(processes - len(running), 0)]
    for seconds in sorted(waiting.values(), reverse=True):
        heapq.heapify(ends)
        heapq.heapreplace(ends, ends[0] + seconds)
    return max(*ends, beside)


def _known_costs(phases: Sequence[Phase]) -> dict[str, float]:
    """Return the mean seconds of the phases with a known speed, by label and by kind."""
    names = {name for phase in phases for name in (phase.kind, phase.label)}
    costs = {name: _mean(phase.cost_s for phase in phases if name in (phase.kind, phase.label)) for name in names}
    return {name: cost for name, cost in costs.items() if cost is not None}


def _cost(phase: Phase, known: dict[str, float]) -> float | None:
    """Return the seconds of a phase, estimated from others of its method or kind if it has not started."""
    return phase.cost_s or known.get(phase.label) or known.get(phase.kind)


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None

"""Phases of a run - world models, streams, learners - with the fraction done and the remaining time.

Times of a phase are estimates from its mean speed so far; `remaining` estimates the time of the whole run.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from dwm_ray.evaluation.evaluators import ranked, ranked_name
from dwm_ray.experiment.grouping import groups, population_size
from dwm_ray.experiment.names import method_name, world_model_label
from dwm_ray.experiment.plan import start_order
from dwm_ray.experiment.relative_cost import relative_cost
from dwm_ray.experiment.run_state import ENDED, ModelState, RunState, StreamState, TrialState
from dwm_ray.experiment.search_space import Trial

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
    cpu_s: float | None = None
    """CPU time within `seconds`, which does not depend on other programs."""
    relative_cost: float | None = None
    """Cost of all updates of a trial in the unit of `relative_cost`."""
    position: int | None = None
    """Position of the trial's population in the start order of all populations."""

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
    plan = planned(state)
    trials = [replace(trial_phase(trial), **plan.get(trial.folder.name, {})) for trial in state.trials]
    return [*map(model_phase, state.models), *map(stream_phase, state.streams), *trials]


def planned(state: RunState) -> dict[str, dict[str, Any]]:
    """Return `Phase.relative_cost` and `Phase.position` of the trials whose options are known, by id."""
    configs = [trial.run for trial in state.trials if trial.run is not None]
    size = population_size(state.max_members, len(configs), state.processes)
    populations = start_order([[Trial(config, {}) for config in group] for group in groups(configs, size)])
    return {
        trial.id: {
            "relative_cost": relative_cost([trial.config for trial in population]) / len(population),
            "position": position,
        }
        for position, population in enumerate(populations)
        for trial in population
    }


def model_phase(model: ModelState) -> Phase:
    done, seconds = int(model.row.get("update", 0)), model.row.get("seconds")
    total = done if model.trained else model.total
    label = f"world model {world_model_label(model.name) if model.name else model.folder.name[:10]}"
    rate, cpu_s = done / seconds if seconds else None, model.row.get("cpu_s")
    return Phase("world model", label, not model.trained, done, total, seconds, rate=rate, cpu_s=cpu_s)


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
        trial.row.get("cpu_s"),
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
    by_label: dict[tuple[Kind, str], list[Phase]] = {}
    for phase in phases:
        by_label.setdefault((phase.kind, phase.label), []).append(phase)
    return [Group(kind, label, tuple(members)) for (kind, label), members in by_label.items()]

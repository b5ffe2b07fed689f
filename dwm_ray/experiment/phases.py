"""Phases of a run - world models, streams, trials - with the fraction done and the remaining time, alone and in total.

Times are estimates from the mean speed so far.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from dwm_ray.experiment.run_state import ENDED, Json, ModelState, RunState, StreamState, TrialState


@dataclass(frozen=True)
class Phase:
    """Progress of a world model, a stream or a trial."""

    kind: Literal["world model", "stream", "trial"]
    name: str
    running: bool
    done: int
    total: int | None
    """Updates or blocks in all; None if unknown."""
    seconds: float | None
    """Seconds spent so far; for a member of a population, its fraction of the process's time."""
    members: int = 1
    """Trials that learn in the same process."""
    detail: str = ""
    """Latest metrics, as printed."""

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
    done = int(model.row.get("update", 0))
    total = done if model.trained else model.total
    detail = _metric(model.row, "holdout_loss")
    return Phase("world model", model.folder.name, not model.trained, done, total, model.row.get("seconds"), 1, detail)


def stream_phase(stream: StreamState) -> Phase:
    total = stream.blocks if stream.complete else None if stream.spec is None else stream.spec.num_blocks
    seconds = stream.rows / stream.rows_per_s if stream.rows and stream.rows_per_s else None
    detail = "starting" if stream.rows_per_s is None else f"{stream.rows_per_s:.0f} rows/s"
    running = not stream.complete and stream.blocks > 0
    return Phase("stream", stream.folder.name, running, stream.blocks, total, seconds, 1, detail)


def trial_phase(trial: TrialState) -> Phase:
    done = trial.total if trial.status in ENDED else trial.update
    score = [f"score {trial.evaluation['score_mean']:.1f}"] if trial.evaluation else []
    rate = [f"{trial.row['updates_per_s']:.0f} updates/s"] if "updates_per_s" in trial.row else []
    detail = ", ".join([_metric(trial.row, "q_mean"), *score, *rate])
    members, seconds = int(trial.row.get("num_members", 1)), trial.row.get("seconds")
    running = trial.status == "running"
    return Phase("trial", trial.folder.name, running, done, trial.total, seconds, members, detail)


def _metric(row: Json, name: str) -> str:
    return f"{name} {row[name]:.3g}" if name in row else "starting"


@dataclass(frozen=True)
class Total:
    """Progress of a whole run."""

    fraction: float
    remaining_s: float | None
    """Wall-clock seconds until the end; None before a phase of each kind has logged its speed."""


def total_of(phases: Sequence[Phase], num_trials: int) -> Total:
    """Return the progress of all phases, weighted by their cost; planned trials without a folder have not started."""
    known = [phase for phase in phases if phase.fraction is not None]
    missing = num_trials - sum(phase.kind == "trial" for phase in known)
    known += [Phase("trial", "", False, 0, 1, None)] * max(missing, 0)
    if not known:
        return Total(0.0, None)
    costs = {kind: _mean(phase.cost_s for phase in known if phase.kind == kind) for kind in {p.kind for p in known}}
    mean_cost = _mean(costs.values()) or 1.0
    weights = np.array([phase.cost_s or costs[phase.kind] or mean_cost for phase in known])
    fractions = np.array([phase.fraction for phase in known], float)
    left = float(weights @ (1 - fractions))
    processes = sum(1 / phase.members for phase in known if phase.running)
    estimable = left == 0 or (processes > 0 and all(costs[phase.kind] for phase in known if phase.fraction != 1))
    longest = max(phase.remaining_s or 0.0 for phase in known)
    return Total(1 - left / float(weights.sum()), max(left / max(processes, 1.0), longest) if estimable else None)


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None

"""What sharing is worth: a sweep's cost beside its learners', and beside the same trials run one by one.

All are CPU seconds over CPU seconds, so that other programs on the machine hardly matter. "Learners" are their updates
and evaluations.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import mean

from dwm_ray.benchmarks.observed import Observed

WHOLE = 24
"""Trials of 2 agents, 4 horizons and 3 seeds at one return-to-go: one world model, one stream. Computed for sweeps
that had another number."""
MEASURED = "measured"


@dataclass(frozen=True)
class Factor:
    """One figure, and whether it was measured on these processes or computed from measured parts."""

    what: str
    value: float
    origin: str

    def cells(self) -> list[str]:
        return [self.what, f"{self.value:.2f}", self.origin]


def factors(seen: Observed, alone: list[Observed]) -> list[Factor]:
    """Those of a sweep, and those that runs of single trials allow."""
    found = [*_cost(seen), *_sharing(seen), *(_beside(seen, alone) if alone else [])]
    if num_imagining(seen) != WHOLE:
        found += [*_whole(seen), *(_whole_beside(seen, alone) if alone else [])]
    return found


def _cost(seen: Observed) -> list[Factor]:
    parts = seen.parts
    return [
        Factor("useful work / all processes", parts.cpu_s / seen.cpu_s, MEASURED),
        Factor("useful work / learners", parts.cpu_s / parts.learners_cpu_s, MEASURED),
        Factor("all processes / learners", seen.cpu_s / parts.learners_cpu_s, MEASURED),
    ]


def _sharing(seen: Observed) -> list[Factor]:
    parts, number = seen.parts, num_imagining(seen)
    factor = (number * parts.shared_cpu_s + parts.learners_cpu_s) / parts.cpu_s
    return [
        Factor(
            "one by one / shared, useful work",
            factor,
            f"computed: each of {number} imagining trials pays the shared parts",
        )
    ]


def _whole(seen: Observed) -> list[Factor]:
    shared, learners = seen.parts.shared_cpu_s, WHOLE * imagining_cpu_s(seen)
    rest = f"computed: shared parts and the learners' mean as measured, {WHOLE} imagining trials"
    alone = WHOLE * shared + learners
    return [
        Factor(f"useful work / learners, {WHOLE} trials", 1 + shared / learners, rest),
        Factor(
            f"all processes / learners, {WHOLE} trials",
            whole_cpu_s(seen) / learners,
            f"{rest}, all else a trial as here",
        ),
        Factor(f"one by one / shared, useful work, {WHOLE} trials", alone / (shared + learners), rest),
    ]


def _beside(seen: Observed, alone: list[Observed]) -> list[Factor]:
    """Against trials that were really run by themselves."""
    useful = mean(run.parts.cpu_s for run in alone)
    learning = mean(run.parts.learners_cpu_s for run in alone)
    free = sum(learner.cpu_s + other_cpu_s(seen) for learner in seen.parts.learners if not learner.imagines)
    together = num_imagining(seen) * _each(alone) + free
    return [
        Factor("one trial's useful work, alone / as computed", useful / (seen.parts.shared_cpu_s + learning), MEASURED),
        Factor(
            "one by one / shared, all processes",
            together / seen.cpu_s,
            f"{len(alone)} measured alone, their mean taken for all {num_imagining(seen)} imagining trials; model-free "
            "ones as here",
        ),
    ]


def _whole_beside(seen: Observed, alone: list[Observed]) -> list[Factor]:
    return [
        Factor(
            f"one by one / shared, all processes, {WHOLE} trials",
            WHOLE * _each(alone) / whole_cpu_s(seen),
            f"{len(alone)} measured alone, their mean taken for all {WHOLE}; the sweep computed as above",
        )
    ]


def _each(alone: list[Observed]) -> float:
    """CPU seconds of all processes of a run of one trial."""
    return mean(run.cpu_s for run in alone)


def num_imagining(seen: Observed) -> int:
    return sum(learner.imagines for learner in seen.parts.learners)


def imagining_cpu_s(seen: Observed) -> float:
    """CPU seconds of a learner that imagines, on average."""
    return mean(learner.cpu_s for learner in seen.parts.learners if learner.imagines)


def other_cpu_s(seen: Observed) -> float:
    """CPU seconds a trial that are no useful work; what is started once counts for its part."""
    return seen.other_cpu_s / len(seen.parts.learners)


def whole_cpu_s(seen: Observed) -> float:
    """All processes of a sweep of `WHOLE` imagining trials; what is started once is counted again for every few."""
    return seen.parts.shared_cpu_s + WHOLE * (imagining_cpu_s(seen) + other_cpu_s(seen))

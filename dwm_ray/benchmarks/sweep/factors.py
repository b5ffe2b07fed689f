"""Benefit of sharing: CPU time of a sweep relative to its learners, and to the same trials run one by one.

All factors are ratios of CPU seconds, so that other programs on the machine have little influence. The cost of a
learner is the cost of its updates and evaluations."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import mean

from dwm_ray.benchmarks.sweep.observed_run import ObservedRun
from dwm_ray.report.table import Cell

NUM_TRIALS = 24
"""Trials to extrapolate to: 2 agents, 4 horizons and 3 seeds share one world model and one stream."""


@dataclass(frozen=True)
class Factor:
    """A ratio, and whether it was measured on these processes or computed from measured parts."""

    name: str
    value: float
    origin: str = "measured"

    def cells(self) -> list[Cell]:
        return [self.name, f"{self.value:.2f}", self.origin]


def factors(run: ObservedRun, alone: list[ObservedRun]) -> list[Factor]:
    """Return the factors of a sweep; `alone` are runs of single trials."""
    costs, count = run.costs, num_with_stream(run)
    one_by_one = (count * costs.shared_cpu_s + costs.learners_cpu_s) / costs.cpu_s
    found = [
        Factor("useful work / all processes", costs.cpu_s / run.cpu_s),
        Factor("useful work / learners", costs.cpu_s / costs.learners_cpu_s),
        Factor("all processes / learners", run.cpu_s / costs.learners_cpu_s),
        Factor(
            "one by one / shared, useful work",
            one_by_one,
            f"computed: each of {count} trials with a stream pays for the shared parts",
        ),
    ]
    if alone:
        found += _against_single_trials(run, alone)
    return found if count == NUM_TRIALS else found + _extrapolated(run, alone)


def _against_single_trials(run: ObservedRun, alone: list[ObservedRun]) -> list[Factor]:
    count, learning = num_with_stream(run), mean(one.costs.learners_cpu_s for one in alone)
    useful = mean(one.costs.cpu_s for one in alone) / (run.costs.shared_cpu_s + learning)
    model_free = sum(one.cpu_s + other_cpu_s(run) for one in run.costs.learners if not one.has_stream)
    return [
        Factor("one trial's useful work, alone / as computed", useful),
        Factor(
            "one by one / shared, all processes",
            (count * _mean_cpu_s(alone) + model_free) / run.cpu_s,
            f"mean of {len(alone)} measured alone for all {count} trials with a stream; model-free trials as measured",
        ),
    ]


def _extrapolated(run: ObservedRun, alone: list[ObservedRun]) -> list[Factor]:
    """Return the factors of a sweep of `NUM_TRIALS` trials with a stream."""
    shared, learners, name = run.costs.shared_cpu_s, NUM_TRIALS * stream_learner_cpu_s(run), f"{NUM_TRIALS} trials"
    total = shared + learners + NUM_TRIALS * other_cpu_s(run)
    origin = f"computed: shared parts and mean learner as measured, {NUM_TRIALS} trials with a stream"
    found = [
        Factor(f"useful work / learners, {name}", 1 + shared / learners, origin),
        Factor(
            f"all processes / learners, {name}", total / learners, f"{origin}, other CPU time per trial as measured"
        ),
        Factor(
            f"one by one / shared, useful work, {name}",
            (NUM_TRIALS * shared + learners) / (shared + learners),
            origin,
        ),
    ]
    if alone:
        origin = f"mean of {len(alone)} measured alone for all {NUM_TRIALS} trials; the sweep computed as above"
        value = NUM_TRIALS * _mean_cpu_s(alone) / total
        found.append(Factor(f"one by one / shared, all processes, {name}", value, origin))
    return found


def _mean_cpu_s(alone: list[ObservedRun]) -> float:
    return mean(run.cpu_s for run in alone)


def num_with_stream(run: ObservedRun) -> int:
    return sum(learner.has_stream for learner in run.costs.learners)


def stream_learner_cpu_s(run: ObservedRun) -> float:
    """Return the mean CPU seconds of learners with a stream."""
    return mean(learner.cpu_s for learner in run.costs.learners if learner.has_stream)


def other_cpu_s(run: ObservedRun) -> float:
    """Return CPU seconds per trial that are not useful work; shared start-up costs are divided among the trials."""
    return run.other_cpu_s / len(run.costs.learners)

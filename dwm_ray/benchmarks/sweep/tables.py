"""Tables of an observed sweep: CPU time by purpose, cost factors, time of a trial, memory.

Factors show the benefit of sharing: CPU time of a sweep relative to its learners, and to the same trials run one by
one. All are ratios of CPU seconds, so that other programs on the machine have little influence. The cost of a learner
is the cost of its updates and evaluations."""

import re
from collections import Counter
from dataclasses import dataclass
from statistics import mean

from dwm_ray.benchmarks.sweep.observed_run import RAYLET, SAMPLER, TRIAL, WORKER, ObservedRun, ProcessUsage
from dwm_ray.benchmarks.tables import number
from dwm_ray.report.table import Cell, Table

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
    shared, name = run.costs.shared_cpu_s, f"{NUM_TRIALS} trials"
    learners = NUM_TRIALS * mean(learner.cpu_s for learner in run.costs.learners if learner.has_stream)
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


def other_cpu_s(run: ObservedRun) -> float:
    """Return CPU seconds per trial that are not useful work; shared start-up costs are divided among the trials."""
    return run.other_cpu_s / len(run.costs.learners)


MB = 1e6


def tables(run: ObservedRun, alone: list[ObservedRun]) -> list[Table]:
    """Return all tables that have rows."""
    found = [
        Table("CPU time", ["purpose", "CPU s", "fraction"], cpu_rows(run)),
        Table("cost", ["ratio", "factor", "origin"], [factor.cells() for factor in factors(run, alone)]),
        Table("mean time of a trial after its world model", ["activity", "s", "fraction"], trial_rows(run)),
        Table("memory", ["process or store", "number", "peak, MB", "limit, MB"], memory_rows(run)),
    ]
    return [table for table in found if table.rows]


def cpu_seconds(run: ObservedRun) -> dict[str, float]:
    """Return {purpose: CPU seconds}; the sum is the CPU time of all processes."""
    costs, kinds = run.costs, Counter[str]()
    for process in run.processes:
        kinds[process.kind] += process.cpu_s  # type: ignore[assignment]
    models, streams = (sum(part.cpu_s for part in parts) for parts in (costs.world_models, costs.streams))
    workers = kinds.pop(WORKER, 0.0) - models - costs.learners_cpu_s
    return {
        "learners: updates": sum(learner.update_cpu_s for learner in costs.learners),
        "learners: evaluation": sum(learner.evaluation_cpu_s for learner in costs.learners),
        "world models: training": models,
        "samplers: sampling": streams,
        "workers of Ray Train: start, data": workers,
        "samplers: start, data": kinds.pop(SAMPLER, 0.0) - streams,
        **dict(kinds.most_common()),
    }


def cpu_rows(run: ObservedRun) -> list[list[Cell]]:
    totals = {"training, sampling, evaluation": run.costs.cpu_s, "all": run.cpu_s}
    return _fractions({**cpu_seconds(run), **totals}, run.cpu_s)


def trial_seconds(run: ObservedRun) -> dict[str, float]:
    """Return {activity: mean seconds of a trial}, from the start of its process, or from the end of world-model
    training if that is later. Empty if trials were restarted or learned in populations: a process then has no single
    trial."""
    learners = sorted(run.costs.learners, key=lambda learner: learner.done_at)
    trials = sorted(run.of_kind(TRIAL), key=lambda process: process.until)
    if len(learners) != len(trials):
        return {}
    pairs = zip(learners, trials, strict=True)  # processes end in the order of their learners
    lives = sum(
        trial.until - (max(trial.since, run.costs.models_at) if learner.has_stream else trial.since)
        for learner, trial in pairs
    )
    sums = {
        "updates": sum(learner.update_s for learner in learners),
        "evaluation": sum(learner.evaluation_s for learner in learners),
        "logs, checkpoints, reports": sum(learner.other_s for learner in learners),
        "waiting for generated rows": sum(learner.waited_s for learner in learners),
    }
    sums["start and end of processes"] = lives - sum(sums.values())
    return {activity: seconds / len(learners) for activity, seconds in sums.items()}


def trial_rows(run: ObservedRun) -> list[list[Cell]]:
    seconds = trial_seconds(run)
    total = sum(seconds.values())
    return _fractions({**seconds, "all": total}, total) if seconds else []


def memory_rows(run: ObservedRun) -> list[list[Cell]]:
    """Return rows of the kinds of processes, followed by rows of bounded stores."""
    learners = run.costs.learners
    peaks: dict[str, list[int]] = {
        "learner, by trial": [learner.peak_bytes for learner in learners],
        "world-model training": [model.peak_bytes for model in run.costs.world_models],
    }
    for process in run.processes:
        if process.kind != WORKER:
            peaks.setdefault(process.kind, []).append(process.peak_bytes)
    rings = [(learner.ring_bytes, learner.ring_limit_bytes) for learner in learners if learner.has_stream]
    touched = max(process.shared_bytes for process in run.processes)  # the raylet itself reads no blocks
    limits = [object_store_bytes(raylet) for raylet in run.of_kind(RAYLET)]
    rows: list[list[Cell]] = [[kind, len(sizes), _mb(max(sizes)), None] for kind, sizes in peaks.items() if sizes]
    rows += [["ring of a learner", len(rings), *map(_mb, max(rings))] for _ in rings[:1]]
    return rows + [["object store, touched by one process", 1, _mb(touched), _mb(limit)] for limit in limits]


def object_store_bytes(raylet: ProcessUsage) -> int:
    """Return the size of the object store in the command line of a raylet; 0 if it is not there."""
    found = re.search(r"--object_store_memory=(\d+)", raylet.title)
    return int(found[1]) if found else 0


def _fractions(amounts: dict[str, float], total: float) -> list[list[Cell]]:
    return [[name, number(amount), f"{100 * amount / total:.1f} %"] for name, amount in amounts.items()]


def _mb(size: int) -> str:
    return number(size / MB)

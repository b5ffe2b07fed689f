"""What a sweep that was looked at says: where its CPU time went, its cost, a trial's time, memory."""

from __future__ import annotations

import re
from collections import Counter

from dwm_ray.benchmarks.observed import Observed
from dwm_ray.benchmarks.process_usage import RAYLET, SAMPLER, TRIAL, WORKER, Process
from dwm_ray.benchmarks.result import Grid, number
from dwm_ray.benchmarks.run_costs import Learned
from dwm_ray.benchmarks.sweep_factors import factors

MB = 1e6


def grids(seen: Observed, alone: list[Observed]) -> list[Grid]:
    """The tables, one for each question."""
    every = [
        Grid("CPU time", ("what", "CPU s", "share"), cpu_rows(seen)),
        Grid("cost", ("what", "factor", "how"), [factor.cells() for factor in factors(seen, alone)]),
        Grid("time of a trial once its world model is there, mean", ("what", "s", "share"), trial_rows(seen)),
        Grid("memory", ("what", "number", "most, MB", "bound, MB"), memory_rows(seen)),
    ]
    return [grid for grid in every if grid.rows]


def cpu_seconds(seen: Observed) -> dict[str, float]:
    """What -> CPU seconds; together all that was seen."""
    parts, kinds = seen.parts, Counter[str]()
    for process in seen.processes:
        kinds[process.kind] += process.cpu_s  # type: ignore[assignment]
    models, drawn = (sum(part.cpu_s for part in of) for of in (parts.world_models, parts.streams))
    rest = kinds.pop(WORKER, 0.0) - models - parts.learners_cpu_s
    return {
        "learners: updates": sum(learner.update_cpu_s for learner in parts.learners),
        "learners: evaluation": sum(learner.evaluation_cpu_s for learner in parts.learners),
        "world models: training": models,
        "samplers: sampling": drawn,
        "workers of Ray Train: start, data": rest,
        "samplers: start, data": kinds.pop(SAMPLER, 0.0) - drawn,
        **dict(kinds.most_common()),
    }


def cpu_rows(seen: Observed) -> list[list[str]]:
    spent = cpu_seconds(seen)
    useful = {"training, sampling, evaluation": seen.parts.cpu_s, "all": seen.cpu_s}
    return _shares({**spent, **useful}, seen.cpu_s)


def trial_seconds(seen: Observed) -> dict[str, float]:
    """What -> seconds of a trial on average, from its process's first moment - or its world model's last, if that is
    later - to its end; nothing where one was started again or learned with others: its process is not its own."""
    learners = sorted(seen.parts.learners, key=lambda learner: learner.done_at)
    trials = sorted(seen.of_kind(TRIAL), key=lambda process: process.until)
    if len(learners) != len(trials):
        return {}
    pairs = zip(learners, trials, strict=True)  # they end in the same order
    lives = [_life(learner, trial, seen.parts.models_at) for learner, trial in pairs]
    sums = {
        "updates": sum(learner.update_s for learner in learners),
        "evaluation": sum(learner.evaluation_s for learner in learners),
        "logs, checkpoints, reports": sum(learner.other_s for learner in learners),
        "waiting for imagined rows": sum(learner.waited_s for learner in learners),
    }
    sums["start and end of processes"] = sum(lives) - sum(sums.values())
    return {what: seconds / len(learners) for what, seconds in sums.items()}


def _life(learner: Learned, trial: Process, models_at: float) -> float:
    return trial.until - (max(trial.since, models_at) if learner.imagines else trial.since)


def trial_rows(seen: Observed) -> list[list[str]]:
    seconds = trial_seconds(seen)
    whole = sum(seconds.values())
    return _shares({**seconds, "all": whole}, whole) if seconds else []


def memory_rows(seen: Observed) -> list[list[str]]:
    """Kinds of processes, then what has a bound."""
    learners, models = seen.parts.learners, seen.parts.world_models
    peaks: dict[str, list[int]] = {
        "learner, by trial": [learner.peak_bytes for learner in learners],
        "world model's training": [model.peak_bytes for model in models],
    }
    for process in seen.processes:
        if process.kind != WORKER:
            peaks.setdefault(process.kind, []).append(process.peak_bytes)
    rings = [(learner.ring_bytes, learner.ring_limit_bytes) for learner in learners if learner.imagines]
    touched = max(process.shared_bytes for process in seen.processes)  # the raylet itself reads no blocks
    limits = [store_limit(raylet) for raylet in seen.of_kind(RAYLET)]
    return [
        *([kind, str(len(sizes)), _mb(max(sizes)), "–"] for kind, sizes in peaks.items() if sizes),
        *(["a learner's ring", str(len(rings)), *map(_mb, max(rings))] for _ in rings[:1]),
        *(["object store, touched by one process", "1", _mb(touched), _mb(limit)] for limit in limits),
    ]


def store_limit(raylet: Process) -> int:
    """Bytes that a raylet's command line gives to the object store; 0 where it does not tell."""
    found = re.search(r"--object_store_memory=(\d+)", raylet.title)
    return int(found[1]) if found else 0


def _shares(amounts: dict[str, float], whole: float) -> list[list[str]]:
    return [[what, number(amount), f"{100 * amount / whole:.1f} %"] for what, amount in amounts.items()]


def _mb(size: int) -> str:
    return number(size / MB)

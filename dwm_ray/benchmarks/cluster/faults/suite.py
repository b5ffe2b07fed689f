"""All faults in order, on one cluster; the table."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

import torch

from dwm_ray.benchmarks.cluster.faults import checks, killed, memory, resumed, storage
from dwm_ray.benchmarks.cluster.faults.harness import Arena
from dwm_ray.benchmarks.cluster.faults.outcome import NotRun, Outcome
from dwm_ray.config import RunConfig
from dwm_ray.experiment import profiles
from dwm_ray.options import DataConfig
from dwm_ray.runs.folder import RunFailed

NUM_UPDATES = 4000
NAN = ["--agent", "iql", "--agent.learning-rate", "1e30", "--agents", "td3_bc", "iql"]
"""Two trials of TD3+BC, and two of IQL whose learning diverges."""
Line = Outcome | NotRun


def provoke_all(arena: Arena, task: str, data: str | None, num_updates: int = NUM_UPDATES) -> Iterator[Line]:
    """Every fault, as soon as it is over; one that breaks off does not stop the others."""
    yield from _guarded(arena, "a sampler out of memory", lambda: [memory.sampler_memory(arena, _base(task, data))])
    yield from _guarded(arena, "kills in one sweep", lambda: in_one_sweep(arena, num_updates))
    yield from _guarded(arena, "early stopping (ASHA)", lambda: [resumed.early_stop(arena)])
    yield from _guarded(arena, "storage", lambda: storage.slow_and_full(arena))
    yield NotRun("a node", "it takes several machines")
    if not torch.cuda.is_available():
        yield NotRun("GPU memory", "no GPU; the same code halves a sampler's rows when torch reports it as full")


def _guarded(arena: Arena, faults: str, provoke: Callable[[], Iterable[Line]]) -> Iterator[Line]:
    """The lines of some faults, and one that says why where the rest of them did not come."""
    try:
        yield from provoke()
    except (RunFailed, ValueError, OSError) as error:
        last = (str(error).strip().splitlines() or ["unknown"])[-1]
        yield Outcome(faults, f"broke off: {last}", None, "–", None, (), False)
    finally:
        arena.end_all()


def in_one_sweep(arena: Arena, num_updates: int) -> Iterator[Line]:
    """Kills while it runs, then its driver; resumed, stopped by Ctrl-C, and resumed to its end. Rows and what is left
    behind are looked at where the driver has ended, for all that came before."""
    sweep = killed.long_sweep(arena, num_updates, *NAN)
    faults: list[Callable[..., Outcome]] = [
        killed.sampler,
        killed.buffer,
        killed.storage_fails,
        killed.learner,
        killed.trial,
    ]
    first = [fault(arena, sweep) for fault in faults]
    ended, again = resumed.driver(arena, sweep)
    yield from (replace(outcome, exact=ended.exact, left=ended.left) for outcome in first)
    yield ended
    yield resumed.ctrl_c(arena, again)
    yield resumed.nan_loss(arena, again.run)
    assert checks.rows_exact(again.run)


def _base(task: str, data: str | None) -> RunConfig:
    config = profiles.run_config("laptop", "dwm", "td3_bc")
    return config.model_copy(update={"task": task, "data": DataConfig(file=data)})

"""All faults in order, on one cluster."""

import shlex
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

import torch

from dwm_ray.benchmarks.cluster.faults import checks, killed, limits, resumed
from dwm_ray.benchmarks.cluster.faults.checks import Outcome
from dwm_ray.benchmarks.cluster.faults.harness import LEARNER, TRIAL, FaultHarness
from dwm_ray.errors import last_line
from dwm_ray.experiment import profiles
from dwm_ray.runs.folder import RunFailed

NUM_UPDATES = 4000
DIVERGING = shlex.split("--agent iql --agent.learning-rate 1e30 --agents td3_bc iql")
"""Two trials of TD3+BC, and two of IQL whose learning diverges."""


def inject_all(harness: FaultHarness, task: str, data: str | None, num_updates: int = NUM_UPDATES) -> Iterator[Outcome]:
    """Yield the outcome of every fault as soon as it is known; an error in one scenario does not stop the others."""
    base = profiles.run_config("laptop", "dwm", "td3_bc").with_values({"task": task, "data.file": data})
    yield from _guarded(harness, "sampler out of memory", lambda: [limits.sampler_memory(harness, base)])
    yield from _guarded(harness, "kills in one sweep", lambda: in_one_sweep(harness, num_updates))
    yield from _guarded(harness, "early stopping (ASHA)", lambda: [resumed.early_stop(harness)])
    yield from _guarded(harness, "storage", lambda: limits.blocked_and_full(harness))
    yield Outcome.not_run("node lost", "needs several machines")
    if not torch.cuda.is_available():
        yield Outcome.not_run("GPU out of memory", "no GPU; the same micro-batching applies")


def _guarded(harness: FaultHarness, faults: str, inject: Callable[[], Iterable[Outcome]]) -> Iterator[Outcome]:
    """Yield the outcomes of some faults; after an error, yield a row that contains it."""
    try:
        yield from inject()
    except (RunFailed, ValueError, OSError) as error:
        yield Outcome(faults, f"error: {last_line(str(error))}")
    finally:
        harness.end_all()


def in_one_sweep(harness: FaultHarness, num_updates: int) -> Iterator[Outcome]:
    """Kill processes of a running sweep, then its driver; resume it, stop it by Ctrl-C, and resume it to its end.

    Row accounting and leftovers are checked after the driver has ended; the result applies to all earlier kills.
    """
    sweep = killed.long_sweep(harness, num_updates, *DIVERGING)
    outcomes = [kill(harness, sweep) for kill in (killed.sampler, killed.buffer, killed.storage_fails)]
    outcomes.append(killed.restarted(harness, sweep, LEARNER, "learner killed"))
    outcomes.append(killed.restarted(harness, sweep, TRIAL, "trial process killed"))
    driver, resumed_sweep = resumed.driver(harness, sweep)
    yield from (replace(outcome, exact=driver.exact, leftovers=driver.leftovers) for outcome in outcomes)
    yield driver
    yield resumed.ctrl_c(harness, resumed_sweep)
    yield resumed.nan_loss(harness, resumed_sweep.run)
    assert checks.rows_exact(resumed_sweep.run)

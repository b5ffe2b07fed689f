"""SIGKILL to a sampler, the buffer, a learner and the process of a trial, one after the other in one sweep.

A temporary failure of the storage is injected in the same sweep by forbidding the samplers to write files.
"""

import resource
import shlex
import time
from itertools import pairwise

from dwm_ray.benchmarks.cluster.faults import checks
from dwm_ray.benchmarks.cluster.faults.checks import Outcome
from dwm_ray.benchmarks.cluster.faults.harness import BUFFER, SAMPLER, FaultHarness, Sweep

CHECKPOINT = 400
"""Updates between two checkpoints."""
LOG = 100
MAX_GAP_S = 5.0
"""The documented bound for a sampler."""
OUTAGE_S = 3.0
SMALL = shlex.split("""
    --profile laptop --world-model dwm --world-model.denoiser mlp --world-model.dim 8 --world-model.multipliers 2
    --world-model.num-updates 60 --world-model.batch-size 32 --synthesis.block-rows 256 --replay.min-synthetic 256
    --replay.capacity 20000 --evaluation.every 100000 --evaluation.num-episodes 1 --evaluation.curve-episodes 1
    --cluster.num-samplers 2 --cluster.learner-cpus 0.7 --dimensions horizon --seeds 1 --population 1 --no-baselines
""")
"""A sweep with all processes of a normal one that takes seconds."""
ENDLESS = shlex.split("--synthesis.num-segments 10000000 --cluster.prefetch-blocks 8")
"""A stream that is still being generated at the time of every fault."""


def long_sweep(harness: FaultHarness, num_updates: int, *args: str) -> Sweep:
    """Start a sweep whose learners run during all kills."""
    flags = f"--training.num-updates {num_updates} --training.log-every {LOG} --training.checkpoint-every {CHECKPOINT}"
    return harness.sweep(*SMALL, *ENDLESS, *flags.split(), *args)


def wait_for_checkpoints(sweep: Sweep) -> None:
    """Wait until every running learner has a checkpoint."""

    def checkpointed() -> bool:
        updates, running = checks.updates(sweep.run), checks.with_status(sweep.run, "running")
        return bool(running) and all(updates.get(trial, 0) > CHECKPOINT for trial in running)

    sweep.wait(checkpointed, "learners with a checkpoint")


def wait_for_progress(sweep: Sweep, before: dict[str, int]) -> None:
    """Wait until learners have performed more updates."""
    sweep.wait(lambda: sum(checks.updates(sweep.run).values()) > sum(before.values()), "progress of learners")


def wait_for_blocks(sweep: Sweep, since: float) -> float:
    """Return the time of the first block that arrives after a time."""
    return float(sweep.wait(lambda: checks.blocks(sweep.run, since), "new blocks")[0]["time"])


def sampler(harness: FaultHarness, sweep: Sweep) -> Outcome:
    """Kill a sampler: the other one continues, and Ray restarts the killed one."""

    def of_sampler(name: str, since: float = 0.0) -> list[float]:
        return [line["time"] for line in checks.blocks(sweep.run, since) if line.get("sampler") == name]

    wait_for_checkpoints(sweep)
    sweep.wait(lambda: of_sampler("sampler-0") and of_sampler("sampler-1"), "blocks of both samplers")
    killed = harness.kill(SAMPLER, "sampler-0")
    recovered = sweep.wait(lambda: of_sampler("sampler-0", killed + 0.5), "blocks of the restarted sampler")[0]
    times = [line["time"] for line in checks.blocks(sweep.run, killed) if line["time"] <= recovered]
    meanwhile = len(times) - 1
    gap = max((after - before for before, after in pairwise(times)), default=0.0)
    response = f"the other sampler generated {meanwhile} blocks meanwhile (longest pause {gap:.1f} s)"
    passed = meanwhile > 0 and gap < MAX_GAP_S
    return Outcome("sampler killed", response, recovered - killed, "no rows", None, (), passed)


def buffer(harness: FaultHarness, sweep: Sweep) -> Outcome:
    """Kill the buffer: it is restored from disk, and learners continue with the rows that they have."""
    readers, before = checks.readers(sweep.run), checks.updates(sweep.run)
    killed = harness.kill(BUFFER)
    recovered = wait_for_blocks(sweep, killed + 0.5)
    wait_for_progress(sweep, before)
    same = checks.readers(sweep.run) == readers
    response = "learners continued without a restart" if same else "a learner was restarted"
    return Outcome("buffer killed", response, recovered - killed, "no rows, no duplicates", None, (), same)


def restarted(harness: FaultHarness, sweep: Sweep, actor_class: str, fault: str) -> Outcome:
    """Kill a learner or the process of a trial. Its replacement continues from the last checkpoint."""
    wait_for_checkpoints(sweep)
    before, others = checks.updates(sweep.run), len(checks.with_status(sweep.run, "running")) - 1
    killed = harness.kill(actor_class)
    trial, update, recovered = sweep.wait(lambda: checks.restarts(sweep.run, killed), "a restarted learner")[0]
    lost = max(0, before[trial] - update)
    response = f"resumed from update {update} of about {before[trial]}; unaffected trials: {others}"
    passed = update > 0 and lost <= CHECKPOINT
    return Outcome(fault, response, recovered - killed, f"{lost} to {lost + LOG} updates", None, (), passed)


def storage_fails(harness: FaultHarness, sweep: Sweep) -> Outcome:
    """Forbid samplers to write files for a few seconds."""
    limits = {pid: resource.prlimit(pid, resource.RLIMIT_FSIZE) for pid in harness.pids(SAMPLER)}
    for pid, (_, hard) in limits.items():
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (0, hard))
    failed = time.time()
    time.sleep(OUTAGE_S)
    for pid, limit in limits.items():
        resource.prlimit(pid, resource.RLIMIT_FSIZE, limit)
    restored = time.time()
    recovered = wait_for_blocks(sweep, restored)
    idle = not [line for line in checks.blocks(sweep.run, failed + 1) if line["time"] < restored - 0.1]
    response = f"no blocks for {OUTAGE_S:g} s, then normal operation" if idle else "blocks continued to arrive"
    return Outcome("storage write errors", response, recovered - restored, "no rows", None, (), idle)

"""SIGKILL to a sampler, the buffer, a learner and a trial's process, one after the other in one sweep; NaN beside them.

Storage that fails for a while is provoked in the same sweep, by forbidding the samplers to write files.
"""

from __future__ import annotations

import resource
import time

from dwm_ray.benchmarks.cluster.faults import checks
from dwm_ray.benchmarks.cluster.faults.harness import BUFFER, LEARNER, SAMPLER, TRIAL, Arena, Sweep
from dwm_ray.benchmarks.cluster.faults.outcome import Outcome

CHECKPOINT = 400
"""Updates between two checkpoints."""
LOG = 100
MOST_GAP_S = 5.0
"""The documented bound for a sampler."""
HICCUP_S = 3.0
SIZES = {
    "profile": "laptop",
    "world-model": "dwm",
    "world-model.denoiser": "mlp",
    "world-model.dim": "8",
    "world-model.multipliers": "2",
    "world-model.num-updates": "60",
    "world-model.batch-size": "32",
    "synthesis.block-rows": "256",
    "replay.min-synthetic": "256",
    "replay.capacity": "20000",
    "evaluation.every": "100000",
    "evaluation.num-episodes": "1",
    "evaluation.curve-episodes": "1",
    "cluster.num-samplers": "2",
    "cluster.learner-cpus": "0.7",
    "dimensions": "horizon",
}
SMALL = [
    *(word for name, value in SIZES.items() for word in (f"--{name}", value)),
    "--no-baselines",
    "--population",
    "1",
]
"""A sweep of real parts at a size of seconds."""
ENDLESS = ["--synthesis.num-segments", "10000000", "--cluster.lead-blocks", "8"]
"""A stream that is still being drawn whenever the fault comes."""


def long_sweep(arena: Arena, num_updates: int, *words: str) -> Sweep:
    """One that learners are at work in."""
    about = {"num-updates": num_updates, "log-every": LOG, "checkpoint-every": CHECKPOINT}
    options = [word for name, value in about.items() for word in (f"--training.{name}", str(value))]
    return arena.sweep(*SMALL, *ENDLESS, *options, *words)


def at_work(sweep: Sweep) -> None:
    """Wait until every learner that runs has left a checkpoint."""

    def checkpointed() -> bool:
        now, running = checks.updates(sweep.run), checks.running(sweep.run)
        return bool(running) and all(now.get(trial, 0) > CHECKPOINT for trial in running)

    sweep.wait(checkpointed, "learners with a checkpoint")


def sampler(arena: Arena, sweep: Sweep) -> Outcome:
    """The others go on; it is started again and draws on."""
    at_work(sweep)
    sweep.wait(
        lambda: {"sampler-0", "sampler-1"} <= {line.get("sampler") for line in checks.draws(sweep.run)}, "two at work"
    )
    killed = arena.kill(SAMPLER, "sampler-0")

    def back() -> float:
        its = (line["time"] for line in checks.draws(sweep.run) if line.get("sampler") == "sampler-0")
        return next((at for at in its if at > killed + 0.5), 0.0)

    restarted = sweep.wait(back, "blocks of the restarted sampler")
    times = [line["time"] for line in checks.draws(sweep.run) if killed - 2 < line["time"] <= restarted]
    meanwhile = sum(at > killed for at in times) - 1
    gap = checks.longest_gap([at for at in times if at >= killed])
    survived = f"the other one drew {meanwhile} blocks (longest pause {gap:.1f} s) until it drew again"
    good = meanwhile > 0 and gap < MOST_GAP_S
    return Outcome("a sampler", survived, restarted - killed, "no row", None, (), good)


def buffer(arena: Arena, sweep: Sweep) -> Outcome:
    """It comes back from the disk; learners learn on with what they have."""
    readers, before = checks.cursors(sweep.run), checks.updates(sweep.run)
    killed = arena.kill(BUFFER)
    again = sweep.wait(lambda: [x["time"] for x in checks.draws(sweep.run) if x["time"] > killed + 0.5], "new blocks")[
        0
    ]
    sweep.wait(lambda: sum(checks.updates(sweep.run).values()) > sum(before.values()), "learners that go on")
    same = checks.cursors(sweep.run) == readers
    survived = "learners went on without a restart" if same else "a learner started again"
    return Outcome("the buffer", survived, again - killed, "no row, none twice", None, (), same)


def learner(arena: Arena, sweep: Sweep) -> Outcome:
    """Back from its last checkpoint."""
    return _restarted(arena, sweep, LEARNER, "a learner")


def trial(arena: Arena, sweep: Sweep) -> Outcome:
    """Tune starts it again, and its learner goes on from its last checkpoint."""
    return _restarted(arena, sweep, TRIAL, "a trial's process")


def _restarted(arena: Arena, sweep: Sweep, actor_class: str, fault: str) -> Outcome:
    at_work(sweep)
    before, others = checks.updates(sweep.run), len(checks.running(sweep.run)) - 1
    killed = arena.kill(actor_class)
    restart = sweep.wait(lambda: checks.starts(sweep.run, killed), "a learner that starts again")[0]
    lost = max(0, before[restart.trial] - restart.update)
    survived = f"went on from update {restart.update} of about {before[restart.trial]}; others undisturbed: {others}"
    good = restart.update > 0 and lost <= CHECKPOINT
    return Outcome(fault, survived, restart.at - killed, f"{lost} to {lost + LOG} updates", None, (), good)


def storage_fails(arena: Arena, sweep: Sweep) -> Outcome:
    """Samplers cannot write for some seconds."""
    pids = arena.pids(SAMPLER)
    limits = {pid: resource.prlimit(pid, resource.RLIMIT_FSIZE) for pid in pids}
    for pid, (_, hard) in limits.items():
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (0, hard))
    failed = time.time()
    time.sleep(HICCUP_S)
    for pid, limit in limits.items():
        resource.prlimit(pid, resource.RLIMIT_FSIZE, limit)
    healed = time.time()
    again = sweep.wait(lambda: [x["time"] for x in checks.draws(sweep.run) if x["time"] > healed], "new blocks")[0]
    quiet = not [x for x in checks.draws(sweep.run) if failed + 1 < x["time"] < healed - 0.1]
    survived = f"no block for {HICCUP_S:g} s, then as before" if quiet else "blocks went on"
    return Outcome("storage that fails", survived, again - healed, "no row", None, (), quiet)

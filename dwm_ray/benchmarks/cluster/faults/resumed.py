"""Interrupted drivers and `--resume`: SIGKILL, truncated files, Ctrl-C; diverging trials; early stopping."""

import os
import shlex
import signal
import time
from pathlib import Path

from dwm_ray.benchmarks.cluster.faults import checks
from dwm_ray.benchmarks.cluster.faults.checks import Outcome
from dwm_ray.benchmarks.cluster.faults.harness import LEARNER, FaultHarness, Sweep
from dwm_ray.benchmarks.cluster.faults.killed import CHECKPOINT, LOG, SMALL
from dwm_ray.runs.folder import read_json
from dwm_ray.runs.row_log import read_rows

STOPPED_BY_CTRL_C = 130
ASHA = shlex.split("""
    --training.num-updates 900 --training.log-every 100 --training.checkpoint-every 300 --scheduler asha
    --grace-share 0.3 --evaluation.every 300 --agents td3_bc bc --seeds 2
""")
"""Trials, some of which are stopped early."""


def driver(harness: FaultHarness, sweep: Sweep) -> tuple[Outcome, Sweep]:
    """Kill the driver when one trial is done and another runs, and truncate files of the running trials. Return the
    outcome and the resumed sweep.

    Ray may miss placement groups of a killed program; the next program releases them, so they are checked after that.
    """
    run = sweep.run
    sweep.wait(lambda: {"done", "running"} <= set(checks.statuses(run).values()), "one trial done, one running")
    os.kill(sweep.process.pid, signal.SIGKILL)
    sweep.exit_code()
    remains, exact = harness.remains(), checks.rows_exact(run)
    running, done = checks.with_status(run, "running"), checks.with_status(run, "done")
    stamps, before = _stamps(run, done), checks.updates(run)
    for trial in running:
        _truncate(run / "trials" / trial)
    start = time.time()
    resumed = harness.resume(run)
    restarts = resumed.wait(lambda: [x for x in checks.restarts(run, start) if x[0] in running], "a resumed trial")
    unchanged, leftovers = _stamps(run, done) == stamps, harness.not_released(remains)
    lost = max((before[trial] - update for trial, update, _ in restarts), default=-1)
    finished = f"finished trials ({len(done)}) and the world model {'unchanged' if unchanged else 'REWRITTEN'}"
    note = f"; still present at resume: {', '.join(remains.values())}" if remains else ""
    response = f"{finished}; {len(restarts)} resumed from a checkpoint{note}"
    passed = unchanged and 0 <= lost <= CHECKPOINT + LOG
    downtime, fault = restarts[0][2] - start, "driver killed, then --resume"
    return Outcome(fault, response, downtime, f"{lost} updates", exact, leftovers, passed), resumed


def ctrl_c(harness: FaultHarness, sweep: Sweep) -> Outcome:
    """Interrupt the sweep as a user does."""
    sweep.wait(lambda: checks.with_status(sweep.run, "running"), "a running trial")
    start = time.time()
    sweep.process.send_signal(signal.SIGINT)
    code, seconds = sweep.exit_code(), time.time() - start
    is_explained = "--resume" in sweep.output()
    response = f"exit code {code} after {seconds:.1f} s" + (", with the command to resume" if is_explained else "")
    passed, leftovers = code == STOPPED_BY_CTRL_C and is_explained, harness.leftovers()
    return Outcome("Ctrl-C", response, None, "–", checks.rows_exact(sweep.run), leftovers, passed)


def nan_loss(harness: FaultHarness, run: Path) -> Outcome:
    """Resume the sweep to its end: diverging trials fail with the reason, the others finish."""
    code, statuses = harness.resume(run).exit_code(), set(checks.statuses(run).values())
    failed = checks.with_status(run, "failed")
    errors = [read_json(run / "trials" / name / "status.json")["error"] for name in failed]
    is_divergence = bool(errors) and all("learning diverged" in error for error in errors)
    reason = "learning diverged" if is_divergence else "; ".join(errors)
    response = f"{len(errors)} trials failed ({reason}), {len(checks.with_status(run, 'done'))} finished"
    passed = is_divergence and code == 0 and statuses == {"done", "failed"}
    return Outcome("NaN loss", response, None, "the failed trials", checks.rows_exact(run), harness.leftovers(), passed)


def early_stop(harness: FaultHarness) -> Outcome:
    """Let ASHA stop trials: their processes end while the sweep continues."""
    sweep = harness.sweep(*SMALL, *ASHA, "--synthesis.num-segments", "4096")
    sweep.wait(lambda: harness.pids(LEARNER), "learners")
    code, stopped = sweep.exit_code(), len(checks.with_status(sweep.run, "stopped"))
    response = f"{stopped} trials stopped early, {len(checks.with_status(sweep.run, 'done'))} finished"
    passed = code == 0 and stopped > 0 and set(checks.statuses(sweep.run).values()) <= {"done", "stopped"}
    exact = checks.rows_exact(sweep.run)
    return Outcome("early stopping (ASHA)", response, None, "–", exact, harness.leftovers(), passed)


def _stamps(run: Path, trials: list[str]) -> dict[str, int]:
    """Return the modification time of each file of the world models and of these trials."""
    folders = [run / "world_models", *(run / "trials" / name for name in trials)]
    return {str(p): p.stat().st_mtime_ns for folder in folders for p in folder.rglob("*") if p.is_file()}


def _truncate(trial: Path) -> None:
    """Truncate the last metrics row and the status, as after a power failure."""
    for path in (trial / "metrics.jsonl", trial / "status.json"):
        content = path.read_bytes()
        path.write_bytes(content[: len(content) - max(1, len(content) // 4 if path.suffix == ".json" else 20)])
    assert read_json(trial / "status.json") is None
    assert read_rows(trial / "metrics.jsonl") is not None

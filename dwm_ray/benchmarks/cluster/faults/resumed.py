"""Ends of the driver and what `--resume` makes of them: SIGKILL, half-written files, Ctrl-C; NaN; early stopping."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from dwm_ray.benchmarks.cluster.faults import checks
from dwm_ray.benchmarks.cluster.faults.harness import LEARNER, Arena, Sweep
from dwm_ray.benchmarks.cluster.faults.killed import CHECKPOINT, LOG, SMALL
from dwm_ray.benchmarks.cluster.faults.outcome import Outcome
from dwm_ray.runs.folder import read_json
from dwm_ray.runs.row_log import read_rows

STOPPED_BY_CTRL_C = 130


def driver(arena: Arena, sweep: Sweep) -> tuple[Outcome, Sweep]:
    """SIGKILL when one trial is done and another runs, then half of a line and half of a status; the resumed sweep.
    What Ray misses of a killed program is for the next one to free (`leftovers`): that is when it is looked at."""
    sweep.wait(lambda: {"done", "running"} <= set(checks.statuses(sweep.run).values()), "one trial done, one running")
    os.kill(sweep.process.pid, signal.SIGKILL)
    sweep.ended()
    missed, run = arena.remains(), sweep.run
    running, done, exact = checks.running(run), _done(run), checks.rows_exact(run)
    kept, before = _stamps(run, done), checks.updates(run)
    for trial in running:
        _tear(run / "trials" / trial)
    started = time.time()
    again = arena.resume(run)
    ours = again.wait(lambda: [x for x in checks.starts(run, started) if x.trial in running], "a resumed trial")
    left, untouched = arena.unfreed(missed), _stamps(run, done) == kept
    lost = max((before[start.trial] - start.update for start in ours), default=-1)
    kept_words = "untouched" if untouched else "WRITTEN AGAIN"
    survived = f"finished trials ({len(done)}) and the world model {kept_words}; went on from a checkpoint: {len(ours)}"
    there = f"; there when it was resumed: {', '.join(missed.values())}" if missed else ""
    good = untouched and 0 <= lost <= CHECKPOINT + LOG
    gap = ours[0].at - started
    return Outcome("the driver (--resume)", survived + there, gap, f"{lost} updates", exact, left, good), again


def ctrl_c(arena: Arena, sweep: Sweep) -> Outcome:
    """As a user does it."""
    sweep.wait(lambda: checks.running(sweep.run), "a trial that runs")
    started = time.time()
    sweep.interrupt()
    code, seconds = sweep.ended(), time.time() - started
    said = "--resume" in sweep.said()
    survived = f"code {code} after {seconds:.1f} s" + (", and it said how to go on" if said else "")
    left = arena.left()
    return Outcome(
        "Ctrl-C", survived, None, "–", checks.rows_exact(sweep.run), left, code == STOPPED_BY_CTRL_C and said
    )


def nan_loss(arena: Arena, run: Path) -> Outcome:
    """The resumed sweep to its end: trials that diverge fail with the reason, the others finish."""
    sweep = arena.resume(run)
    code, found = sweep.ended(), checks.statuses(run)
    errors = [read_json(run / "trials" / name / "status.json")["error"] for name, s in found.items() if s == "failed"]
    clear = bool(errors) and all("learning diverged" in error for error in errors)
    why = "learning diverged" if clear else "; ".join(errors)
    survived = f"{len(errors)} trials failed ({why}), {_count(found, 'done')} done"
    good = clear and code == 0 and set(found.values()) == {"done", "failed"}
    return Outcome("a NaN loss", survived, None, "the trial", checks.rows_exact(run), arena.left(), good)


def early_stop(arena: Arena) -> Outcome:
    """ASHA ends trials that lag behind; their processes go while the sweep goes on."""
    sizes = ["--synthesis.num-segments", "4096", "--training.num-updates", "900", "--training.log-every", "100"]
    stops = ["--training.checkpoint-every", "300", "--scheduler", "asha", "--grace-share", "0.3"]
    sweep = arena.sweep(*SMALL, *sizes, *stops, "--evaluation.every", "300", "--agents", "td3_bc", "bc", "--seeds", "2")
    sweep.wait(lambda: arena.pids(LEARNER), "learners")
    code, found = sweep.ended(), checks.statuses(sweep.run)
    survived = f"{_count(found, 'stopped')} trials stopped early, {_count(found, 'done')} done"
    good = code == 0 and _count(found, "stopped") > 0 and set(found.values()) <= {"done", "stopped"}
    return Outcome("early stopping (ASHA)", survived, None, "–", checks.rows_exact(sweep.run), arena.left(), good)


def _count(found: dict[str, str], status: str) -> int:
    return sum(value == status for value in found.values())


def _done(run: Path) -> list[str]:
    return [name for name, status in checks.statuses(run).items() if status == "done"]


def _stamps(run: Path, trials: list[str]) -> dict[str, int]:
    """When each file of the world models and of these trials was last written."""
    folders = [run / "world_models", *(run / "trials" / name for name in trials)]
    return {str(p): p.stat().st_mtime_ns for folder in folders for p in folder.rglob("*") if p.is_file()}


def _tear(trial: Path) -> None:
    """What a machine that loses power leaves: half of the last row, half of the status."""
    for path in (trial / "metrics.jsonl", trial / "status.json"):
        text = path.read_bytes()
        path.write_bytes(text[: len(text) - max(1, len(text) // 4 if path.suffix == ".json" else 20)])
    assert read_json(trial / "status.json") is None
    assert read_rows(trial / "metrics.jsonl") is not None

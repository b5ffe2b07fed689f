"""Run trials end to end on a cluster: train missing world models, then the agents under Ray Train.

`pipelines/train.py` calls `run_trials` directly; a sweep calls it in every Tune trial. The process of a trial starts
before its learner. This module therefore imports neither torch nor plug-ins: `jobs.trial_job` prepares what needs them.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import ray
from ray.train import TrainingFailedError
from ray.tune.integration.ray_train import TuneReportCallback

from dwm_ray.distributed.cluster.resources import Placement
from dwm_ray.distributed.workers.artifacts import ModelJob, ensure_world_model
from dwm_ray.distributed.workers.ray_train import new_trainer, run_workers
from dwm_ray.runs.folder import RunFailed, RunFolder, set_status, status_of
from dwm_ray.runs.row_log import read_rows

DIED = r"(ray\.exceptions\.\w+: )?The actor died unexpectedly"
"""Start of the line with which Ray reports that a process has died."""
DEATHS = {
    "low on memory": "was killed because its node was low on memory",
    "its node has died": "is gone with its node",
    "": "died: it was killed, ran out of memory, or crashed in native code",
}
"""Part of Ray's message -> how the process died; the first match counts."""


@dataclass(frozen=True)
class TrialJob:
    """Trials that can form a population, and the world models that they need."""

    name: str
    trials: tuple[str, ...]
    """Ids of the trials."""
    run: str
    models: tuple[ModelJob, ...]
    loop: Callable[[], None]
    """Loop of the learner's worker, by `ray_train.worker_loop`."""
    max_failures: int
    placement: Placement
    leases: Any
    reports: bool
    """Whether scores are sent to Tune."""


def trainable(params: dict[str, Any]) -> None:
    """Run the job of Tune's parameters; return normally after failures that are recorded, which Tune would repeat."""
    with suppress(RunFailed):
        run_trials(ray.get(params["trial"]["job"]))


def run_trials(job: TrialJob) -> None:
    """Run trials that can form a population, each until it finishes or diverges.

    Interrupted trials continue from their checkpoints. Raises RunFailed after recording the failure if a worker keeps
    failing, including one that trains a world model.
    """
    run = RunFolder.at(job.run)
    folders = [run.trial(trial) for trial in job.trials]
    callbacks = [TuneReportCallback()] if job.reports else []
    worker = "a world-model worker"
    try:
        for model in job.models:
            ensure_world_model(model, run, job.leases, job.placement)
        worker = "a learner"
        learner = partial(new_trainer, job.loop, f"learner-{job.name}", run, job.placement, callbacks=callbacks)
        run_workers(learner, job.max_failures)
    except TrainingFailedError as error:
        for folder in folders:
            record_failure(folder, run, str(error), worker)
        raise RunFailed(f"trial {', '.join(job.trials)}: {cause(str(error), worker)}") from error
    for folder in folders:
        run.pull(folder)


def reset_failed(run: RunFolder, trials: Iterable[str]) -> None:
    """Reset the status of failed trials, so that they run again."""
    for folder in map(run.trial, trials):
        with changing(folder, run):
            if status_of(folder) == "failed":
                set_status(folder, "pending")


def record_failure(folder: Path, run: RunFolder, text: str, process: str) -> None:
    """Write the status of an unfinished trial whose `process` failed with the message `text` of Ray."""
    with changing(folder, run):
        if status_of(folder) not in ("done", "failed"):
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "failure.txt").write_text(text, encoding="utf-8")
            set_status(folder, "failed", error=cause(text, process), **progress_of(folder))


@contextmanager
def changing(folder: Path, run: RunFolder) -> Iterator[None]:
    """Bring a trial's folder up to date, and send its status and its failure after they have changed."""
    with run.writing(folder / "failure.txt", folder / "status.json"):
        run.pull(folder)
        yield


def progress_of(folder: Path) -> dict[str, Any]:
    """Return the updates and seconds that a trial has logged."""
    rows = read_rows(folder / "metrics.jsonl")
    return {"updates": rows[-1]["update"], "seconds": rows[-1]["seconds"]} if rows else {"updates": 0, "seconds": 0.0}


def cause(text: str, process: str) -> str:
    """Return one line for the failure of a process: how it died, or the error that its traceback names.

    `text` is the message of Ray, which has several lines; `process` names the process in a sentence.
    """
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if any(re.match(DIED, line) for line in lines):
        how = next(how for part, how in DEATHS.items() if part in text)
        facts = dict(re.findall(r"^\s*(pid|ip): (\S+)$", text, re.MULTILINE))
        return f"{process} (process {facts.get('pid', '?')} on node {facts.get('ip', '?')}) {how}; see failure.txt"
    named = [line for line in lines if re.match(r"[\w.]*(Error|Loss|Exception)\b.*: ", line)]
    return (named or lines or ["unknown"])[-1]

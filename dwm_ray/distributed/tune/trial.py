"""Run trials end to end on a cluster: train missing world models, then the agents under Ray Train.

`pipelines/train.py` calls `run_trials` directly; a sweep calls it in every Tune trial. The process of a trial starts
before its learner. This module therefore imports neither torch nor plug-ins: `jobs.trial_job` prepares what needs them.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
from ray.train import TrainingFailedError
from ray.tune.integration.ray_train import TuneReportCallback

from dwm_ray.distributed.cluster.resources import Placement
from dwm_ray.distributed.workers.artifacts import ModelJob, ensure_world_model
from dwm_ray.distributed.workers.ray_train import new_trainer
from dwm_ray.runs.folder import RunFailed, RunFolder, set_status, status_of


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
    """Run the job of Tune's parameters."""
    run_trials(ray.get(params["trial"]["job"]))


def run_trials(job: TrialJob) -> None:
    """Run trials that can form a population, each until it finishes or diverges.

    Interrupted trials continue from their checkpoints. Raises RunFailed if a worker keeps failing, including one that
    trains a world model.
    """
    run = RunFolder.at(job.run)
    folders = [run.trial(trial) for trial in job.trials]
    _reset_failed(folders, run)
    callbacks = [TuneReportCallback()] if job.reports else []
    try:
        for model in job.models:
            ensure_world_model(model, run, job.leases, job.placement)
        name = f"learner-{job.name}"
        new_trainer(job.loop, name, run, job.placement, job.max_failures, callbacks=callbacks).fit()
    except TrainingFailedError as error:
        for folder in folders:
            _record_failure(folder, run, str(error))
        raise RunFailed(f"trial {', '.join(job.trials)}: {cause(str(error))}") from error
    for folder in folders:
        run.pull(folder)


def _reset_failed(folders: Sequence[Path], run: RunFolder) -> None:
    """Reset trials that failed in an earlier session; a restarted worker skips trials that fail in this one."""
    for folder in folders:
        folder.mkdir(parents=True, exist_ok=True)
        with run.writing(folder / "status.json"):
            run.pull(folder)
            if status_of(folder) == "failed":
                set_status(folder, "pending")


def _record_failure(folder: Path, run: RunFolder, text: str) -> None:
    with run.writing(folder / "failure.txt", folder / "status.json"):
        run.pull(folder)
        if status_of(folder) not in ("done", "failed"):
            (folder / "failure.txt").write_text(text, encoding="utf-8")
            set_status(folder, "failed", error=cause(text))


def cause(text: str) -> str:
    """Return the line of a worker's traceback that names the error: the last one of the form `SomeError: ...`."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    named = [line for line in lines if re.match(r"[\w.]*(Error|Loss|Exception)\b.*: ", line)]
    return (named or lines or ["unknown"])[-1]

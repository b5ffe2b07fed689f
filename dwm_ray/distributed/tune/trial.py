"""Run trials end to end on a cluster: train missing world models, then the agents under Ray Train.

`pipelines/train.py` calls `run_trials` directly; a sweep calls it in every Tune trial. The process of a trial starts
before its learner. This module therefore imports neither torch nor plug-ins: `jobs.trial_job` prepares what needs them.
"""

import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

import ray
from ray.train import TrainingFailedError
from ray.tune.integration.ray_train import TuneReportCallback

from dwm_ray.distributed.cluster.resources import Placement
from dwm_ray.distributed.workers.artifacts import ModelJob, ensure_world_model
from dwm_ray.distributed.workers.ray_train import new_trainer, run_workers
from dwm_ray.runs.folder import RunFailed, RunFolder
from dwm_ray.runs.trial_status import record_end

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
            ensure_world_model(model, run, job.placement)
        worker = "a learner"
        learner = partial(new_trainer, job.loop, f"learner-{job.name}", run, job.placement, callbacks=callbacks)
        run_workers(learner, job.max_failures)
    except TrainingFailedError as error:
        reason = cause(str(error), worker)
        for folder in folders:
            record_end(folder, run, "failed", str(error), error=reason)
        raise RunFailed(f"trial {', '.join(job.trials)}: {reason}") from error
    for folder in folders:
        run.pull(folder)


def cause(message: str, process: str) -> str:
    """Return one line for the failure of a process: how it died, or the error that its traceback names.

    `message` is that of Ray, which has several lines; `process` names the process in a sentence.
    """
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    if any(re.match(DIED, line) for line in lines):
        ending = next(ending for phrase, ending in DEATHS.items() if phrase in message)
        facts = dict(re.findall(r"^\s*(pid|ip): (\S+)$", message, re.MULTILINE))
        return f"{process} (process {facts.get('pid', '?')} on node {facts.get('ip', '?')}) {ending}; see failure.txt"
    named = [line for line in lines if re.match(r"[\w.]*(Error|Loss|Exception)\b.*: ", line)]
    return (named or lines or ["unknown"])[-1]

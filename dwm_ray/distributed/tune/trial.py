"""Run trials end to end on a cluster: train missing world models, then the agents under Ray Train.

`pipelines/train.py` calls `run_trials` directly; a sweep calls it in every Tune trial.
"""

import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from ray.train import TrainingFailedError
from ray.train.v2.api.data_parallel_trainer import DataParallelTrainer
from ray.tune.integration.ray_train import TuneReportCallback

from dwm_ray.distributed.services import ClusterServices
from dwm_ray.distributed.workers.artifacts import ensure_world_model
from dwm_ray.distributed.workers.learner import LearnerJob, learner_loop
from dwm_ray.distributed.workers.ray_train import new_trainer
from dwm_ray.evaluation.evaluators import required_models
from dwm_ray.experiment.search_space import Trial
from dwm_ray.options import fingerprint
from dwm_ray.runs.folder import RunFailed, RunFolder, set_status, status_of


def run_trials(trials: Sequence[Trial], services: ClusterServices, reports: bool = False) -> None:
    """Run trials that can form a population, each until it finishes or diverges.

    Interrupted trials continue from their checkpoints. `reports` sends scores to Tune. Raises RunFailed if a worker
    keeps failing, including a worker that trains a world model.
    """
    run = services.run
    folders = [run.trial(trial.id) for trial in trials]
    _reset_failed(folders, run)
    try:
        for trial in trials:
            for config in required_models(trial.config, services.data.has_environment):
                ensure_world_model(config, run, services.data, services.leases, services.placement)
        _trainer(trials, services, reports).fit()
    except TrainingFailedError as error:
        for folder in folders:
            _record_failure(folder, run, str(error))
        raise RunFailed(f"trial {', '.join(trial.id for trial in trials)}: {cause(str(error))}") from error
    for folder in folders:
        run.pull(folder)


def learner_name(trials: Sequence[Trial]) -> str:
    """Return a name that depends on the trials' content: the same trials have the same name in every session."""
    if len(trials) == 1:
        return trials[0].id
    return f"population-{fingerprint([trial.id for trial in trials])[:10]}"


def _reset_failed(folders: Sequence[Path], run: RunFolder) -> None:
    """Reset trials that failed in an earlier session; a restarted worker skips trials that fail in this one."""
    for folder in folders:
        folder.mkdir(parents=True, exist_ok=True)
        with run.writing(folder / "status.json"):
            run.pull(folder)
            if status_of(folder) == "failed":
                set_status(folder, "pending")


def _trainer(trials: Sequence[Trial], services: ClusterServices, reports: bool) -> DataParallelTrainer:
    """Return a trainer with one worker, which is restarted if it dies."""
    placement, name, config = services.placement, learner_name(trials), trials[0].config
    job = LearnerJob(
        name,
        tuple(trial.config.model_dump_json() for trial in trials),
        services.run.address,
        services.data.fingerprint,
        services.buffer,
        services.sampler_names,
        placement.learner_threads,
        reports,
    )
    callbacks = [TuneReportCallback()] if reports else []
    loop, most = partial(learner_loop, job), config.cluster.max_failures
    return new_trainer(loop, f"learner-{name}", services.run, placement, most, callbacks=callbacks)


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


def as_params(trials: Sequence[Trial]) -> dict[str, Any]:
    """Return the trials of one learner as Tune's parameters."""
    each = [{"config": trial.config.model_dump_json(), "values": trial.values} for trial in trials]
    return {"name": learner_name(trials), "trials": each}

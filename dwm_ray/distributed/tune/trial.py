"""One trial, or several that learn as one, end to end: world models (found, waited for or built), then the learner
under Ray Train.

`pipelines/train.py` calls `run_trial` directly, the sweep calls one of the two in every Tune trial.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
import ray.train
from ray.train import FailureConfig, ScalingConfig, TrainingFailedError
from ray.train.torch import TorchTrainer
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from dwm_ray.config import RunConfig
from dwm_ray.data.task_data import DataIdentity
from dwm_ray.distributed.buffer.shards import Shards
from dwm_ray.distributed.cluster.nodes import Resources
from dwm_ray.distributed.cluster.resources import Placement
from dwm_ray.distributed.workers.artifacts import ensure_world_model
from dwm_ray.distributed.workers.learner import Job, learner_loop
from dwm_ray.distributed.workers.leases import Leases
from dwm_ray.distributed.workers.population import PopulationJob, population_loop
from dwm_ray.distributed.workers.sampler import Sampler
from dwm_ray.distributed.workers.sync import ray_storage
from dwm_ray.experiment.search_space import Trial
from dwm_ray.options import fingerprint
from dwm_ray.runs.folder import RunFailed, RunFolder, set_status, status_of


@dataclass(frozen=True)
class ClusterServices:
    """The shared parts that trials are plugged into."""

    run: RunFolder
    data: DataIdentity
    placement: Placement
    buffer: Shards
    leases: Any
    samplers: tuple[Any, ...]
    sampler_names: tuple[str, ...]

    @staticmethod
    def build(config: RunConfig, run: RunFolder, data: DataIdentity, placement: Placement) -> ClusterServices:
        """Start buffer, samplers and claims; they live as long as the process that calls this. Buffer and claims stay
        on its node: the others may be taken away."""
        cluster = config.cluster
        needs = actor_options(placement.sampler)
        names = tuple(f"sampler-{number}" for number in range(cluster.num_samplers))
        about = (config.model_dump_json(), run.address, data.fingerprint, placement.sampler_threads)
        samplers = tuple(
            ray.remote(Sampler).options(name=name, max_restarts=-1, **needs).remote(*about) for name in names
        )
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        buffer = Shards.build(run.address, cluster, list(names), here)
        leases = ray.remote(Leases).options(num_cpus=0, scheduling_strategy=here).remote()
        return ClusterServices(run, data, placement, buffer, leases, samplers, names)


def actor_options(needs: Resources) -> dict[str, Any]:
    """Resources as an actor's options name them."""
    named = {name: amount for name, amount in needs.items() if name not in ("CPU", "GPU")}
    return {"num_cpus": needs["CPU"], "num_gpus": needs.get("GPU", 0), "resources": named}


def run_trial(trial: Trial, services: ClusterServices, callbacks: list[Any]) -> str:
    """Run one trial to its end; returns its status: done, or failed where learning diverged. RunFailed where its
    processes failed. A trial that was cut off goes on where its last checkpoint stands: its name is its content."""
    config = trial.config
    model = _world_model(config, services)
    about = (trial.id, config.model_dump_json(), services.run.address, services.data.fingerprint, model)
    job = Job(*about, services.buffer, services.sampler_names, services.placement.learner_threads)
    _fit(_trainer(learner_loop, job, trial.id, config, services, callbacks), [trial], services.run, ("done",))
    return status_of(services.run.trial(trial.id))


def run_together(trials: Sequence[Trial], services: ClusterServices) -> None:
    """Run trials that can learn as one, each to its end or to where it diverges. RunFailed where their processes
    failed. Those that were cut off go on where the states in their folders stand."""
    name, configs = population_name(trials), [trial.config for trial in trials]
    for config in configs:
        _world_model(config, services)
    _begin_again(trials, services.run)
    texts = tuple(config.model_dump_json() for config in configs)
    about = (services.run.address, services.data.fingerprint, services.buffer, services.placement.learner_threads)
    job = PopulationJob(name, texts, *about)
    _fit(_trainer(population_loop, job, name, configs[0], services, []), trials, services.run, ("done", "failed"))


def population_name(trials: Sequence[Trial]) -> str:
    """A name by content, as a trial's is."""
    return f"population-{fingerprint([trial.id for trial in trials])[:10]}"


def _begin_again(trials: Sequence[Trial], run: RunFolder) -> None:
    """A member that failed in an earlier try is tried again; a worker that starts again leaves out those that have."""
    for folder in (run.trial(trial.id) for trial in trials):
        with run.writing(folder / "status.json"):
            run.pull(folder)
            if status_of(folder) == "failed":
                set_status(folder, "pending")


def _world_model(config: RunConfig, services: ClusterServices) -> str | None:
    """The name of the run's world model, whole by then; None where it has none."""
    if config.world_model is None:
        return None
    return ensure_world_model(config, services.run, services.data, services.leases, services.placement)


def _fit(trainer: TorchTrainer, trials: Sequence[Trial], run: RunFolder, over: tuple[str, ...]) -> None:
    """Have the worker do its trials, whose folders are up to date here afterwards. RunFailed where it failed for good;
    it is recorded of those whose status is none of `over`."""
    folders = [run.trial(trial.id) for trial in trials]
    for folder in folders:
        folder.mkdir(parents=True, exist_ok=True)
    try:
        trainer.fit()
    except TrainingFailedError as error:
        for folder in folders:
            _record_failure(folder, run, str(error), over)
        raise RunFailed(f"trial {', '.join(trial.id for trial in trials)}: {cause(str(error))}") from error
    for folder in folders:
        run.pull(folder)


def _record_failure(folder: Path, run: RunFolder, text: str, over: tuple[str, ...]) -> None:
    with run.writing(folder / "failure.txt", folder / "status.json"):
        run.pull(folder)
        if status_of(folder) not in over:
            (folder / "failure.txt").write_text(text)
            set_status(folder, "failed", error=cause(text))


def _trainer(
    loop: Callable[[dict[str, Any]], None],
    job: Job | PopulationJob,
    name: str,
    config: RunConfig,
    services: ClusterServices,
    callbacks: list[Any],
) -> TorchTrainer:
    """One worker that goes through `loop`, and is started again where it dies."""
    placement = services.placement
    return TorchTrainer(
        loop,
        train_loop_config={"job": job},
        scaling_config=ScalingConfig(num_workers=1, use_gpu=placement.use_gpu, resources_per_worker=placement.learner),
        run_config=ray.train.RunConfig(
            name=f"learner-{name}",
            **ray_storage(services.run),
            callbacks=callbacks,
            failure_config=FailureConfig(max_failures=config.cluster.max_failures, controller_failure_limit=5),
            checkpoint_config=ray.train.CheckpointConfig(num_to_keep=1),
        ),
    )


def cause(text: str) -> str:
    """The line of a worker's traceback that says what happened: the last one that names an error."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    named = [line for line in lines if re.match(r"[\w.]*(Error|Loss|Exception)\b.*: ", line)]
    return (named or lines or ["unknown"])[-1]

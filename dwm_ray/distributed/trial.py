"""One configuration, end to end: its world model (found, waited for or built), then its learner under Ray Train.

`pipelines/train.py` calls `run_trial` directly, the sweep calls it in every Tune trial.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import ray
import ray.train
from ray.train import FailureConfig, ScalingConfig, TrainingFailedError
from ray.train.torch import TorchTrainer
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from dwm_ray.config import RunConfig
from dwm_ray.distributed.artifacts import ensure_world_model
from dwm_ray.distributed.claims import Claims
from dwm_ray.distributed.cluster import Placement
from dwm_ray.distributed.learner import Job, learner_loop
from dwm_ray.distributed.nodes import Resources
from dwm_ray.distributed.sampler import Sampler
from dwm_ray.distributed.sending import ray_storage
from dwm_ray.distributed.shards import Shards
from dwm_ray.problem import DataIdentity
from dwm_ray.run_folder import RunFailed, RunFolder, set_status, status_of
from dwm_ray.search import Trial


@dataclass(frozen=True)
class Plant:
    """The shared parts that trials are plugged into."""

    run: RunFolder
    data: DataIdentity
    placement: Placement
    buffer: Shards
    claims: Any
    samplers: tuple[Any, ...]
    sampler_names: tuple[str, ...]

    @staticmethod
    def build(config: RunConfig, run: RunFolder, data: DataIdentity, placement: Placement) -> Plant:
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
        claims = ray.remote(Claims).options(num_cpus=0, scheduling_strategy=here).remote()
        return Plant(run, data, placement, buffer, claims, samplers, names)


def actor_options(needs: Resources) -> dict[str, Any]:
    """Resources as an actor's options name them."""
    named = {name: amount for name, amount in needs.items() if name not in ("CPU", "GPU")}
    return {"num_cpus": needs["CPU"], "num_gpus": needs.get("GPU", 0), "resources": named}


def run_trial(trial: Trial, plant: Plant, callbacks: list[Any]) -> str:
    """Run one trial to its end; returns its status: done, or failed where learning diverged. RunFailed where its
    processes failed. A trial that was cut off goes on where its last checkpoint stands: its name is its content."""
    model = None
    if trial.config.world_model is not None:
        model = ensure_world_model(trial.config, plant.run, plant.data, plant.claims, plant.placement)
    folder = plant.run.trial(trial.id)
    folder.mkdir(parents=True, exist_ok=True)
    try:
        _learner(trial, plant, model, callbacks).fit()
    except TrainingFailedError as error:
        with plant.run.writing(folder / "failure.txt", folder / "status.json"):
            (folder / "failure.txt").write_text(str(error))
            set_status(folder, "failed", error=cause(str(error)))
        raise RunFailed(f"trial {trial.id}: {cause(str(error))}") from error
    plant.run.pull(folder)
    return status_of(folder)


def _learner(trial: Trial, plant: Plant, world_model: str | None, callbacks: list[Any]) -> TorchTrainer:
    config, placement = trial.config, plant.placement
    about = (trial.id, config.model_dump_json(), plant.run.address, plant.data.fingerprint, world_model)
    return TorchTrainer(
        learner_loop,
        train_loop_config={"job": Job(*about, plant.buffer, plant.sampler_names, placement.learner_threads)},
        scaling_config=ScalingConfig(num_workers=1, use_gpu=placement.use_gpu, resources_per_worker=placement.learner),
        run_config=ray.train.RunConfig(
            name=f"learner-{trial.id}",
            **ray_storage(plant.run),
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

"""Train a world model under Ray Train: any number of workers, on CPUs or GPUs.

Workers hold the same weights and different windows; gradients are averaged over all of them in one flat all-reduce a
step. Rank 0 writes the log and the checkpoints that a restart goes on from.
"""

from __future__ import annotations

from typing import Any

import ray.train
import torch
import torch.distributed
from ray.train import FailureConfig, ScalingConfig
from ray.train.torch import TorchTrainer

from dwm_ray.config import RunConfig
from dwm_ray.data.task_data import load_task_data
from dwm_ray.devices import default_device
from dwm_ray.distributed.cluster.resources import Placement
from dwm_ray.distributed.metrics.gauges import Gauges
from dwm_ray.distributed.workers.checkpoints import report, resume
from dwm_ray.distributed.workers.sync import Sender, ray_storage, sending
from dwm_ray.local.run import world_model_trainer
from dwm_ray.runs.folder import RunFolder
from dwm_ray.training.fit import fit, log_row, publish
from dwm_ray.training.world_model import WorldModelTrainer
from dwm_ray.training.writers import MetricsWriter
from dwm_ray.world_models.base import model_options


def train_world_model(config: RunConfig, run: RunFolder, name: str, data: str, placement: Placement) -> None:
    """Train the world model called `name` and publish it in the run folder; goes on where an earlier try stopped."""
    TorchTrainer(
        _loop,
        train_loop_config={
            "config": config.model_dump_json(),
            "run": run.address,
            "name": name,
            "data": data,
            "num_threads": placement.learner_threads,
        },
        scaling_config=ScalingConfig(
            num_workers=config.cluster.model_workers,
            use_gpu=placement.use_gpu,
            resources_per_worker=placement.learner,
        ),
        run_config=ray.train.RunConfig(
            name=f"world-model-{name}",
            **ray_storage(run),
            failure_config=FailureConfig(max_failures=config.cluster.max_failures, controller_failure_limit=5),
            checkpoint_config=ray.train.CheckpointConfig(num_to_keep=1),
        ),
    ).fit()


def _loop(job: dict[str, Any]) -> None:
    torch.set_num_threads(job["num_threads"])
    config, run = RunConfig.model_validate_json(job["config"]), RunFolder.at(job["run"])
    context = ray.train.get_context()
    rank, world = context.get_world_rank(), context.get_world_size()
    task_data = load_task_data(config, job["data"])
    averaging = average_over_workers if world > 1 else None
    trainer = world_model_trainer(config, task_data, default_device(), rank, world, averaging)
    seconds = resume(trainer)
    if rank > 0:
        trainer.reseed(rank)
    num_updates = model_options(config).num_updates
    if rank > 0:
        fit(trainer, num_updates, ray.train.report, seconds)
        return
    folder, gauges = run.world_model(job["name"]), Gauges("world_model", {"run": run.name, "model": job["name"]})
    with sending(run, folder, f"model-{job['name']}") as sender:
        with MetricsWriter(folder, trainer.update, gauges.set_row) as writer:
            seconds = fit(trainer, num_updates, lambda row: _report(trainer, writer, sender, row), seconds)
        publish(folder, trainer.averaged, config, task_data, trainer.update, seconds)


def average_over_workers(parameters: list[torch.nn.Parameter]) -> None:
    """Replace every gradient by its mean over the workers, in one all-reduce of all of them."""
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    flat = torch.cat([gradient.reshape(-1) for gradient in gradients])
    torch.distributed.all_reduce(flat)
    flat /= torch.distributed.get_world_size()
    for gradient, mean in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
        gradient.copy_(mean.view_as(gradient))


def _report(trainer: WorldModelTrainer, writer: MetricsWriter, sender: Sender, row: dict[str, float]) -> None:
    log_row(writer, row)
    sender.now_and_then()
    report(trainer, row)

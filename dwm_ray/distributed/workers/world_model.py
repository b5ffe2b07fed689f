"""Train a world model under Ray Train, with any number of workers on CPUs or GPUs.

Workers hold the same weights and sample different windows and noise, so the weights depend on the number of workers.
Masked losses are means over each worker's entries. Their average would differ from the mean over the whole batch even
if the workers shared their random numbers. Gradients are averaged over all workers in one flat all-reduce per step.
Rank 0 writes the log and the checkpoint from which all ranks resume.
"""

from functools import partial

import ray.train
import torch
import torch.distributed

from dwm_ray.config import RunConfig
from dwm_ray.data.task_data import DataIdentity, load_task_data
from dwm_ray.devices import default_device
from dwm_ray.distributed.cluster.resources import Placement
from dwm_ray.distributed.metrics.gauges import Gauges, export_transfer_stats
from dwm_ray.distributed.workers.artifacts import ModelJob
from dwm_ray.distributed.workers.ray_train import worker_loop
from dwm_ray.runs.folder import RunFolder
from dwm_ray.training.fit_world_model import Worker, train_world_model
from dwm_ray.world_models.parts.build import model_fingerprint


def model_job(config: RunConfig, run: RunFolder, data: DataIdentity, placement: Placement) -> ModelJob:
    """Return the training of a run's world model, which is published in the run folder."""
    name, cluster = model_fingerprint(config, data), config.cluster
    loop = partial(_loop, name, config.model_dump_json(), run.address, data.fingerprint, placement.learner_threads)
    return ModelJob(name, worker_loop(loop), cluster.max_failures, cluster.model_workers)


def _loop(name: str, options: str, address: str, data: str, num_threads: int) -> None:
    torch.set_num_threads(num_threads)
    config, run = RunConfig.model_validate_json(options), RunFolder.at(address)
    context = ray.train.get_context()
    rank, count = context.get_world_rank(), context.get_world_size()
    worker = Worker(rank, count, average_over_workers if count > 1 else None)
    if rank == 0:
        export_transfer_stats(run, f"model-{name}")
    gauges = Gauges("world_model", {"run": run.name, "model": name})
    train_world_model(config, load_task_data(config, data), run, default_device(), worker, gauges.set_row)


def average_over_workers(parameters: list[torch.nn.Parameter]) -> None:
    """Replace every gradient with its mean over the workers, in one all-reduce."""
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    flat = torch.cat([gradient.reshape(-1) for gradient in gradients])
    torch.distributed.all_reduce(flat)
    flat /= torch.distributed.get_world_size()
    for gradient, mean in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
        gradient.copy_(mean.view_as(gradient))

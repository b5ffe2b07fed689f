"""Trainers of Ray Train, and where Ray stores its files of a run."""

from collections.abc import Callable, Sequence
from typing import Any

from ray.train import FailureConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchTrainer
from ray.train.v2.api.data_parallel_trainer import DataParallelTrainer

from dwm_ray.distributed.cluster.resources import Placement
from dwm_ray.runs.folder import RunFolder


class _OwnSignals:
    """Trainer that leaves SIGINT to the program: Ray's handler would turn it into a failure of the training."""

    def _register_sigint_handler(self, controller: Any) -> None:
        pass


class _Trainer(_OwnSignals, DataParallelTrainer):
    pass


class _TorchTrainer(_OwnSignals, TorchTrainer):
    pass


def new_trainer(
    loop: Callable[[], None],
    name: str,
    run: RunFolder,
    placement: Placement,
    max_failures: int,
    num_workers: int = 1,
    callbacks: Sequence[Any] = (),
) -> DataParallelTrainer:
    """Return a trainer that runs `loop` on workers, which are restarted up to `max_failures` times.

    Only several workers get torch's process group: its store listens on all addresses of the node, without a token.
    The loop has no configuration: Ray would load that in its controller too, which would import this package and torch.
    """
    trainer = _TorchTrainer if num_workers > 1 else _Trainer
    return trainer(
        loop,
        scaling_config=ScalingConfig(
            num_workers=num_workers, use_gpu=placement.use_gpu, resources_per_worker=placement.learner
        ),
        run_config=RunConfig(
            name=name,
            **ray_storage(run),
            callbacks=list(callbacks),
            failure_config=FailureConfig(max_failures=max_failures, controller_failure_limit=5),
        ),
    )


def ray_storage(run: RunFolder) -> dict[str, Any]:
    """Return Ray's storage options: the run folder, or the run's storage."""
    if run.storage is None:
        return {"storage_path": str(run.ray)}
    return {"storage_path": f"{run.storage.path}/{run.ray.name}", "storage_filesystem": run.storage.filesystem()}

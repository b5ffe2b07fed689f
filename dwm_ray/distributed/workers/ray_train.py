"""Trainers of Ray Train, and the storage of Ray's files of a run."""

import asyncio
import os
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, ClassVar

import ray
from ray.train import FailureConfig, RunConfig, ScalingConfig, TrainingFailedError
from ray.train.v2._internal.callbacks import placement_group_callback
from ray.train.v2._internal.callbacks.datasets import DatasetsCallback
from ray.train.v2._internal.callbacks.placement_group_callback import PlacementGroupCleanerCallback
from ray.train.v2._internal.execution.controller import TrainController
from ray.train.v2._internal.execution.controller.placement_group_cleaner import PlacementGroupCleaner
from ray.train.v2._internal.execution.scaling_policy import FixedScalingPolicy
from ray.train.v2._internal.execution.worker_group import WorkerGroup
from ray.train.v2.api.data_parallel_trainer import DataParallelTrainer

from dwm_ray.distributed.cluster.resources import Placement
from dwm_ray.runs.folder import RunFolder


class _NoRequests(FixedScalingPolicy):
    """Scaling policy without requests to Ray Data's coordinator: the program requests its nodes itself."""

    def after_controller_start(self, train_run_context: Any) -> None:
        pass

    def _maybe_send_resource_request(self) -> None:
        pass


class _WorkerGroup(WorkerGroup):
    """Workers without a runtime environment of their own, which would delay their start: they inherit the variables."""

    @staticmethod
    def _get_worker_runtime_env(custom_runtime_env: Any) -> Any:
        return custom_runtime_env


class _Controller(TrainController):
    worker_group_cls = _WorkerGroup


class _Cleaner(PlacementGroupCleaner):
    """Cleaner that queries its own cluster; Ray's gives up if several clusters run on the machine.

    The placement group would remain, and the next trial would wait indefinitely.
    """

    def __init__(self, *args: Any, **arguments: Any) -> None:
        os.environ["RAY_ADDRESS"] = ray.get_runtime_context().gcs_address
        super().__init__(*args, **arguments)


class _CleanerCallback(PlacementGroupCleanerCallback):
    """Callback with one cleaner for all controllers that run in this process, one after the other.

    The start of a cleaner takes two seconds of CPU time. A cleaner ends when the actor of its controllers has ended.
    """

    shared: ClassVar[Any] = None
    _cleaner: Any

    def after_controller_start(self, train_run_context: Any) -> None:
        if self.shared is None:
            placement_group_callback.PlacementGroupCleaner = _Cleaner  # the class of which Ray starts an actor
            super().after_controller_start(train_run_context)
            _CleanerCallback.shared = self._cleaner
        self._cleaner, self._controller_actor_id = self.shared, ray.get_runtime_context().get_actor_id()

    def _stop_cleaner(self) -> None:
        pass


class _Trainer(DataParallelTrainer):
    """Trainer that starts fewer processes before its first worker than Ray's.

    It has no datasets and therefore no actor for them. In an actor, such as a trial of Tune, the controller runs in the
    process of that actor. SIGINT is left to the program: Ray's handler would turn it into a failure of the training.
    """

    def _create_default_callbacks(self) -> list[Any]:
        replaced = (DatasetsCallback, PlacementGroupCleanerCallback)
        callbacks = super()._create_default_callbacks()
        return [_CleanerCallback(), *(callback for callback in callbacks if not isinstance(callback, replaced))]

    def _initialize_and_run_controller(self, **arguments: Any) -> Any:
        if ray.get_runtime_context().get_actor_id() is None:  # no placement group outlives this process
            return super()._initialize_and_run_controller(**arguments)
        controller = _Controller(**{**arguments, "scaling_policy": _NoRequests(self.scaling_config)})
        asyncio.run(controller.run())
        return controller.get_result()

    def _register_sigint_handler(self, controller: Any) -> None:
        pass


def _torch_trainer() -> type[DataParallelTrainer]:
    from ray.train.torch import TorchTrainer  # imports torch, which the processes of trials do not need

    return type("_TorchTrainer", (_Trainer, TorchTrainer), {})


def worker_loop(loop: Callable[[], None]) -> Callable[[], None]:
    """Return the same loop in Ray's object store: only the workers that run it import its modules."""
    return partial(_run_stored, [ray.put(loop)])


def _run_stored(loop: list[Any]) -> None:
    ray.get(loop[0])()


def run_workers(trainer: Callable[[], DataParallelTrainer], max_failures: int) -> None:
    """Run the workers of a new trainer; if they fail, run those of another one, up to `max_failures` times.

    Raises the TrainingFailedError of the last trainer. Ray Train does not restart workers that die at their start.
    """
    for retries_left in reversed(range(max_failures + 1)):
        try:
            trainer().fit()
            return
        except TrainingFailedError:
            if not retries_left:
                raise


def new_trainer(
    loop: Callable[[], None],
    name: str,
    run: RunFolder,
    placement: Placement,
    num_workers: int = 1,
    callbacks: Sequence[Any] = (),
) -> DataParallelTrainer:
    """Return a trainer that runs `loop` on workers, without restarts after failures: see `run_workers`.

    Only several workers get torch's process group: its store listens on all addresses of the node, without a token.
    The loop has no configuration: Ray would load that in its controller too, which would import this package and torch.
    """
    trainer = _torch_trainer() if num_workers > 1 else _Trainer
    return trainer(
        loop,
        scaling_config=ScalingConfig(
            num_workers=num_workers, use_gpu=placement.use_gpu, resources_per_worker=placement.quotas.learner
        ),
        run_config=RunConfig(
            name=name,
            **ray_storage(run),
            callbacks=list(callbacks),
            failure_config=FailureConfig(controller_failure_limit=5),
        ),
    )


def ray_storage(run: RunFolder) -> dict[str, Any]:
    """Return Ray's storage options: the run folder, or the run's storage."""
    if run.storage is None:
        return {"storage_path": str(run.ray)}
    return {"storage_path": f"{run.storage.path}/{run.ray.name}", "storage_filesystem": run.storage.filesystem()}

"""Workers under Ray Train: failures are recorded and raised as one line; only several workers get a process group."""

import subprocess
import sys
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import pytest
import torch
from ray import cloudpickle
from ray.train import TrainingFailedError
from ray.train.torch import TorchTrainer
from ray.train.v2._internal.callbacks import placement_group_callback
from ray.train.v2._internal.execution.controller import TrainController
from ray.train.v2._internal.execution.scaling_policy import ScalingPolicy
from ray.train.v2._internal.execution.worker_group import WorkerGroup
from ray.train.v2.api.data_parallel_trainer import DataParallelTrainer
from tiny_task import recording, tiny_config

from dwm_ray.data.task_data import load_task_data
from dwm_ray.distributed.cluster.resources import place
from dwm_ray.distributed.services import ClusterServices
from dwm_ray.distributed.tune import trial as module
from dwm_ray.distributed.workers.learner import LearnerJob, learner_loop
from dwm_ray.distributed.workers.ray_train import new_trainer, run_workers
from dwm_ray.experiment.search_space import Trial
from dwm_ray.options import ClusterConfig
from dwm_ray.runs.folder import RunFailed, RunFolder, read_json, set_status, status_of
from dwm_ray.runs.trial_status import reset_failed
from dwm_ray.training.checkpoints import resume_folder, save_state

TRACEBACK = "Traceback (most recent call last):\n  File ...\nValueError: data.hdf5: no such file\n"


DIED = """Training failed due to worker errors:
[Rank 0 Error Snippet]:
A worker health check failed.
The actor died unexpectedly before finishing this task.
\tclass_name: RayTrainWorker
\tpid: 4711
\tip: 10.0.0.5
"""


def failing(*args: object, **options: object) -> NoReturn:
    raise TrainingFailedError(TRACEBACK)


def a_job(run: RunFolder, trial: str) -> module.TrialJob:
    no: Any = None
    model = module.ModelJob("model", no, 0, 1)
    return module.TrialJob("learner", (trial,), run.address, (model,), no, 0, no, reports=False)


@pytest.mark.parametrize("fails", ["ensure_world_model", "new_trainer"])
def test_a_failed_worker_fails_the_trial_for_good(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails: str) -> None:
    run, trial = RunFolder(tmp_path), Trial(tiny_config(tmp_path / "data.hdf5"), {}).id
    monkeypatch.setattr(module, "ensure_world_model", lambda *args: None)
    monkeypatch.setattr(module, fails, failing)
    with pytest.raises(RunFailed, match=rf"^trial {trial}: ValueError: data\.hdf5: no such file$"):
        module.run_trials(a_job(run, trial))
    status = {"status": "failed", "error": "ValueError: data.hdf5: no such file", "updates": 0, "seconds": 0.0}
    assert read_json(run.trial(trial) / "status.json") == status
    assert (run.trial(trial) / "failure.txt").read_text() == TRACEBACK
    monkeypatch.setattr(module.ray, "get", lambda job: job)
    module.trainable({"trial": {"job": a_job(run, trial)}})  # Tune would repeat a trial that raises
    reset_failed(run, [trial])
    assert status_of(run.trial(trial)) == "pending", "the next session repeats it"


@pytest.mark.parametrize(("failures", "fits"), [(0, 1), (2, 3), (9, 3)])
def test_workers_that_fail_are_started_again_twice(failures: int, fits: int) -> None:
    started = []

    class Trainer:
        def fit(self) -> None:
            started.append(self)
            if len(started) <= failures:
                failing()

    with pytest.raises(TrainingFailedError) if failures == 9 else nullcontext():
        run_workers(Trainer, 2)  # type: ignore[arg-type]
    assert len(started) == fits


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            f"{DIED}The actor is dead because its worker process has died.",
            "a learner (process 4711 on node 10.0.0.5) died: it was killed, ran out of memory, or crashed in native "
            "code; see failure.txt",
        ),
        (
            f"{DIED}1 worker(s) were killed due to the node running low on memory.",
            "a learner (process 4711 on node 10.0.0.5) was killed because its node was low on memory; see failure.txt",
        ),
        (
            "ray.exceptions.ActorDiedError: The actor died unexpectedly before finishing this task.\n"
            "The actor died because its node has died. Node Id: 3",
            "a learner (process ? on node ?) is gone with its node; see failure.txt",
        ),
        ("RuntimeError: samplers: The actor died unexpectedly", "RuntimeError: samplers: The actor died unexpectedly"),
    ],
)
def test_the_cause_of_a_failure_is_one_line(text: str, expected: str) -> None:
    assert module.cause(text, "a learner") == expected


def test_a_restarted_learner_deletes_the_checkpoint_of_a_finished_trial(tmp_path: Path) -> None:
    config, run = tiny_config(recording(tmp_path / "data.hdf5")), RunFolder(tmp_path / "run")
    folder = run.trial(config.trial_id)
    set_status(folder, "done", updates=30)
    save_state(folder, {"update": torch.tensor(30)}, 1.0)
    no: Any = None
    identity, placement = load_task_data(config).identity, place(ClusterConfig(), [{"CPU": 8}])
    services = ClusterServices(run, identity, placement, no, (), ())
    learner_loop(LearnerJob("learner", (config.model_dump_json(),), services, False))
    assert not resume_folder(folder).exists()


@pytest.mark.parametrize(("num_workers", "kind"), [(1, DataParallelTrainer), (2, TorchTrainer)])
def test_only_several_workers_open_the_ports_of_a_process_group(
    tmp_path: Path, num_workers: int, kind: type[DataParallelTrainer]
) -> None:
    placement = place(ClusterConfig(), [{"CPU": 8}])
    trainer = new_trainer(partial(learner_loop, Any), "name", RunFolder(tmp_path), placement, num_workers)
    assert isinstance(trainer, kind)
    assert isinstance(trainer, TorchTrainer) == (num_workers > 1)
    assert trainer.scaling_config.num_workers == num_workers
    for name in ("_register_sigint_handler", "_create_default_callbacks", "_initialize_and_run_controller"):
        assert name in vars(DataParallelTrainer), "Ray's private method, which the program replaces"
        assert getattr(type(trainer), name) is not getattr(DataParallelTrainer, name)
    kinds = [type(callback).__name__ for callback in trainer._create_default_callbacks()]
    assert "_CleanerCallback" in kinds
    assert not {"DatasetsCallback", "PlacementGroupCleanerCallback"} & set(kinds), "replaced or left out"
    assert b"dwm_ray" not in cloudpickle.dumps(trainer.train_run_context), "Ray's controller would import the package"


def test_other_private_parts_of_ray_that_are_replaced_exist() -> None:
    assert "_get_worker_runtime_env" in vars(WorkerGroup)
    assert TrainController.worker_group_cls is WorkerGroup
    assert {"after_controller_start", "_maybe_send_resource_request"} <= vars(ScalingPolicy).keys()
    assert placement_group_callback.PlacementGroupCleaner is not None


def test_the_process_of_a_trial_imports_neither_torch_nor_plug_ins() -> None:
    source = (
        "import sys, dwm_ray.distributed.tune.trial; print({'torch', 'dwm_ray.agents', 'mujoco'} & set(sys.modules))"
    )
    assert (
        subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, check=True).stdout == "set()\n"
    )

"""Workers under Ray Train: failures are recorded and raised as one line; only several workers get a process group."""

import subprocess
import sys
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
from dwm_ray.distributed.tune import trial as module
from dwm_ray.distributed.workers.learner import LearnerJob, learner_loop
from dwm_ray.distributed.workers.ray_train import new_trainer
from dwm_ray.experiment.search_space import Trial
from dwm_ray.options import ClusterConfig
from dwm_ray.runs.folder import RunFailed, RunFolder, read_json, set_status
from dwm_ray.training.checkpoints import resume_folder, save_state

TRACEBACK = "Traceback (most recent call last):\n  File ...\nValueError: data.hdf5: no such file\n"


@pytest.mark.parametrize("fails", ["ensure_world_model", "new_trainer"])
def test_a_failed_worker_fails_the_trial(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails: str) -> None:
    def fail(*args: object, **options: object) -> NoReturn:
        raise TrainingFailedError(TRACEBACK)

    run, trial = RunFolder(tmp_path), Trial(tiny_config(tmp_path / "data.hdf5"), {})
    no: Any = None
    model = module.ModelJob("model", no, 0, 1)
    job = module.TrialJob("learner", (trial.id,), run.address, (model,), no, 0, no, no, reports=False)
    monkeypatch.setattr(module, "ensure_world_model", lambda *args: None)
    monkeypatch.setattr(module, fails, fail)
    with pytest.raises(RunFailed, match=rf"^trial {trial.id}: ValueError: data\.hdf5: no such file$"):
        module.run_trials(job)
    status = {"status": "failed", "error": "ValueError: data.hdf5: no such file"}
    assert read_json(run.trial(trial.id) / "status.json") == status
    assert (run.trial(trial.id) / "failure.txt").read_text() == TRACEBACK


def test_a_restarted_learner_deletes_the_checkpoint_of_a_finished_trial(tmp_path: Path) -> None:
    config, run = tiny_config(recording(tmp_path / "data.hdf5")), RunFolder(tmp_path / "run")
    folder = run.trial(config.trial_id)
    set_status(folder, "done", updates=30)
    save_state(folder, {"update": torch.tensor(30)}, 1.0)
    no_buffer: Any = None
    identity = load_task_data(config).identity.fingerprint
    job = LearnerJob("learner", (config.model_dump_json(),), run.address, identity, no_buffer, (), 1, False)
    learner_loop(job)
    assert not resume_folder(folder).exists()


@pytest.mark.parametrize(("num_workers", "kind"), [(1, DataParallelTrainer), (2, TorchTrainer)])
def test_only_several_workers_open_the_ports_of_a_process_group(
    tmp_path: Path, num_workers: int, kind: type[DataParallelTrainer]
) -> None:
    placement = place(ClusterConfig(), [{"CPU": 8}])
    trainer = new_trainer(partial(learner_loop, Any), "name", RunFolder(tmp_path), placement, 2, num_workers)
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

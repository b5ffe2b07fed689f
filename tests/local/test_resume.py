"""Without Ray, trials that were cut off go on from their last checkpoint and end as if they never had been."""

from pathlib import Path
from typing import Any

import pytest
import torch
from local_runs import trial_of, world_model
from programs import load_program
from tiny_task import DWM, tiny_config

from dwm_ray.config import RunConfig
from dwm_ray.data.task_data import load_task_data
from dwm_ray.local.executor import run_configs
from dwm_ray.runs.folder import RunFolder, status_of
from dwm_ray.runs.row_log import read_rows
from dwm_ray.runs.storage import Storage
from dwm_ray.runs.tensor_files import write_json
from dwm_ray.training import fit_world_model
from dwm_ray.training.checkpoints import resume_folder, saved_update
from dwm_ray.training.stores import load_agent
from dwm_ray.training.writers import MetricsWriter

SMALL = {"agent.hidden_size": 32}


class Killed(BaseException):
    """The process ends."""


def configs_of(file: Path, agent: str, model: dict[str, Any] | None, num: int) -> list[RunConfig]:
    return [tiny_config(file, model, agent=agent, seed=seed).with_values(SMALL) for seed in range(num)]


def learn(configs: list[RunConfig], folder: RunFolder, most: int = 8) -> None:
    run_configs(configs, folder, load_task_data(configs[0]).episodes, most)


def cut_off(configs: list[RunConfig], folder: RunFolder, update: int) -> None:
    """The process ends when the first trial has logged this update."""
    really = MetricsWriter.metrics

    def last(writer: MetricsWriter, at: int, values: dict[str, float]) -> None:
        really(writer, at, values)
        if at == update and "updates_per_s" in values:
            raise Killed

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(MetricsWriter, "metrics", last)
        with pytest.raises(Killed):
            learn(configs, folder)


def assert_same(config: RunConfig, one: RunFolder, other: RunFolder, exact: bool = True) -> None:
    """Weights, curves and scores; every update is in the log once."""
    folders = [trial_of(config, folder) for folder in (one, other)]
    own, theirs = (load_agent(folder / "checkpoint", torch.device("cpu"))[0].state_dict() for folder in folders)
    tolerance = {"rtol": 0, "atol": 0} if exact else {"rtol": 1e-3, "atol": 1e-4}
    for key, value in own.items():
        torch.testing.assert_close(theirs[key], value, **tolerance, msg=key)
    for log, told in (("metrics", "critic_loss"), ("evaluations", "score_mean")):
        expected, rows = (read_rows(folder / f"{log}.jsonl") for folder in folders)
        assert [row["update"] for row in rows] == [row["update"] for row in expected]
        values = [row[told] for row in expected]
        assert [row[told] for row in rows] == (values if exact else pytest.approx(values, rel=1e-2))
    seconds = [row["seconds"] for row in read_rows(folders[1] / "metrics.jsonl")]
    assert seconds == sorted(seconds), "those before the cut are counted"
    assert status_of(folders[1]) == "done"
    assert not resume_folder(folders[1]).exists()


@pytest.mark.parametrize("agent", ["td3_bc", "iql"])
@pytest.mark.parametrize("model", [None, DWM], ids=["model-free", "stream"])
@pytest.mark.parametrize("num", [1, 3])
def test_who_goes_on_ends_as_who_was_never_stopped(
    agent: str, model: dict[str, Any] | None, num: int, file: Path, tmp_path: Path
) -> None:
    configs = configs_of(file, agent, model, num)
    straight, broken = RunFolder(tmp_path / "straight"), RunFolder(tmp_path / "broken")
    learn(configs, straight)
    cut_off(configs, broken, 30)
    assert {saved_update(trial_of(config, broken)) for config in configs} == {20}
    assert read_rows(trial_of(configs[0], broken) / "metrics.jsonl")[-1]["update"] == 30, "beyond its checkpoint"
    learned_at: list[int] = []
    with pytest.MonkeyPatch.context() as patch:
        really = MetricsWriter.metrics
        patch.setattr(MetricsWriter, "metrics", lambda w, at, row: (learned_at.append(at), really(w, at, row))[1])
        learn(configs, broken)
    assert learned_at == [30] * num, "nothing that was kept is learned again"
    for config in configs:
        assert_same(config, straight, broken)


def test_members_that_stand_elsewhere_learn_in_groups_of_their_own_and_alone_or_together_is_one_state(
    file: Path, tmp_path: Path
) -> None:
    """The first was cut off alone, the others together and later."""
    configs = configs_of(file, "td3_bc", None, 3)
    straight, broken = RunFolder(tmp_path / "straight"), RunFolder(tmp_path / "broken")
    learn(configs, straight)
    cut_off(configs[:1], broken, 20)
    cut_off(configs[1:], broken, 30)
    assert [saved_update(trial_of(config, broken)) for config in configs] == [10, 20, 20]
    learn(configs, broken)
    members = [read_rows(trial_of(config, broken) / "metrics.jsonl")[-1].get("num_members") for config in configs]
    assert members == [1, 2, 2]
    for config in configs:
        assert_same(config, straight, broken, exact=False)


def test_states_of_single_trials_make_a_population(file: Path, tmp_path: Path) -> None:
    configs = configs_of(file, "iql", None, 2)
    straight, broken = RunFolder(tmp_path / "straight"), RunFolder(tmp_path / "broken")
    learn(configs, straight, most=1)
    for config in configs:
        cut_off([config], broken, 20)
    learn(configs, broken)
    for config in configs:
        assert read_rows(trial_of(config, broken) / "metrics.jsonl")[-1]["num_members"] == 2
        assert_same(config, straight, broken, exact=False)


@pytest.mark.parametrize("which", ["trials", "world_models"])
def test_a_process_killed_after_the_end_of_training_leaves_no_checkpoint(
    which: str, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    [config] = configs_of(file, "td3_bc", DWM, 1)
    run, really = RunFolder(tmp_path / "run"), RunFolder.remove

    def die(own: RunFolder, folder: Path) -> None:
        if which in folder.parts:
            raise Killed
        really(own, folder)

    with monkeypatch.context() as patch:
        patch.setattr(RunFolder, "remove", die)
        with pytest.raises(Killed):
            learn([config], run)
    write_json(run.config, {"profile": "laptop", "run": config.model_dump(mode="json")})
    [left] = run.root.glob("*/*/resume")
    assert left.parts[-3] == which
    assert load_program("pipelines/train.py").main(["--resume", str(run.root), "--in-process"]) == 0
    assert not list(run.root.glob("*/*/resume"))


def test_a_broken_state_is_told_by_its_folder(file: Path, tmp_path: Path) -> None:
    configs, folder = configs_of(file, "td3_bc", None, 1), RunFolder(tmp_path)
    cut_off(configs, folder, 20)
    (resume_folder(trial_of(configs[0], folder)) / "trainer.safetensors").write_bytes(b"half")
    with pytest.raises(ValueError, match=r"resume: no readable checkpoint 'trainer' there"):
        learn(configs, folder)


@pytest.mark.parametrize("num", [1, 2])
def test_states_lie_in_the_storage_and_are_removed_there(num: int, file: Path, tmp_path: Path) -> None:
    kept, configs = tmp_path / "kept", configs_of(file, "td3_bc", None, num)
    cut_off(configs, RunFolder(tmp_path / "first", Storage.folder(kept)), 30)
    assert len(list(kept.glob("trials/*/resume/trainer.safetensors"))) == num
    fresh = RunFolder(tmp_path / "second", Storage.folder(kept))
    learn(configs, fresh)
    assert [row["update"] for row in read_rows(trial_of(configs[0], fresh) / "metrics.jsonl")] == [10, 20, 30]
    assert not [path for path in kept.glob("trials/*/resume/*") if path.is_file()]
    assert len(list(kept.glob("trials/*/checkpoint/agent.safetensors"))) == num


def test_a_world_model_that_was_cut_off_goes_on(file: Path, tmp_path: Path) -> None:
    config = tiny_config(file, {**DWM, "num_updates": 40})
    task_data = load_task_data(config)
    whole, cut = RunFolder(tmp_path / "whole"), RunFolder(tmp_path / "cut")
    expected = world_model(config, task_data, whole).state_dict()
    really, rows = fit_world_model.save_state, []

    def last(path: Path, state: dict[str, Any], seconds: float) -> None:
        really(path, state, seconds)
        rows.append(seconds)
        if len(rows) == 25:
            raise Killed

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fit_world_model, "save_state", last)
        with pytest.raises(Killed):
            world_model(config, task_data, cut)
    result = world_model(config, task_data, cut).state_dict()
    assert all(torch.equal(result[key], value) for key, value in expected.items())
    [folder] = cut.root.glob("world_models/*")
    log = read_rows(folder / "metrics.jsonl")
    assert [row["update"] for row in log] == list(range(1, 41))
    assert log[-1]["seconds"] > rows[-1], "those before the cut are counted"
    assert not resume_folder(folder).exists()

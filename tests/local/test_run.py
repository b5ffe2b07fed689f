"""A run end to end, on a task that takes a second."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from local_runs import generated_ring, train, trial_of, weights, world_model
from tiny_task import LENGTH, NUM_SEGMENTS, ONE_STEP, tiny_config

from dwm_ray.data.task_data import load_task_data
from dwm_ray.runs.folder import RunFolder, read_json
from dwm_ray.runs.row_log import read_rows
from dwm_ray.world_models.parts.build import model_fingerprint


def files_of(folder: Path) -> dict[str, tuple[int, bytes]]:
    return {
        str(path.relative_to(folder)): (path.stat().st_mtime_ns, path.read_bytes())
        for path in folder.rglob("*")
        if path.is_file() and "tensorboard" not in path.parts
    }


def test_a_run_leaves_scores_curves_a_policy_and_a_world_model(file: Path, tmp_path: Path) -> None:
    config, folder = tiny_config(file), RunFolder(tmp_path)
    final = train(config, folder)
    trial = trial_of(config, folder)
    assert final["final"]
    assert len(final["returns"]) == final["episodes"] == 2
    assert final["score_mean"] == pytest.approx(sum(final["returns"]) / 2)  # no reference scores: raw returns
    assert all(-17 * LENGTH < value < 0 for value in final["returns"])
    assert [row["update"] for row in read_rows(trial / "metrics.jsonl")] == [10, 20, 30]
    assert [(row["update"], row["final"]) for row in read_rows(trial / "evaluations.jsonl")] == [
        (20, False),
        (30, True),
    ]
    assert read_json(trial / "status.json") == {"status": "done", "updates": 30, "seconds": final["seconds"]}
    model = folder.world_model(model_fingerprint(config, load_task_data(config).identity))
    assert read_json(model / "status.json")["updates"] == 20
    assert read_json(model / "model.json")["meta"]["task"] == config.task
    error = read_json(model / "error.json")
    assert len(error["obs_mse"]) == len(error["calibration"]["recorded"]["ended"]) == 3
    futures = read_json(model / "futures.json")
    assert len(futures["starts"][0]["imagined"]["reward"]) == 12
    assert len(futures["starts"][0]["recorded"]["reward"]) == 3


def test_a_second_run_does_not_train_the_world_model_again_and_repeats_the_first(file: Path, tmp_path: Path) -> None:
    config, folder = tiny_config(file), RunFolder(tmp_path)
    first = train(config, folder)
    before, agent = files_of(tmp_path / "world_models"), weights(config, folder)
    shutil.rmtree(trial_of(config, folder))
    second = train(config, folder)
    assert files_of(tmp_path / "world_models") == before
    assert second["returns"] == first["returns"]
    for name, value in weights(config, folder).items():
        assert torch.equal(value, agent[name]), name
    assert [row["update"] for row in read_rows(trial_of(config, folder) / "metrics.jsonl")] == [10, 20, 30]


def test_a_world_model_that_is_not_whole_is_trained(file: Path, tmp_path: Path) -> None:
    config, folder = tiny_config(file), RunFolder(tmp_path)
    task_data = load_task_data(config)
    trained = world_model(config, task_data, folder)
    path = folder.world_model(model_fingerprint(config, task_data.identity))
    (path / "status.json").unlink()
    (path / "model.safetensors").write_bytes(b"half")
    again = world_model(config, task_data, folder)
    for name, value in trained.state_dict().items():
        assert torch.equal(value, again.state_dict()[name]), name


def test_other_seeds_horizons_and_sampling_options_share_the_world_model(file: Path, tmp_path: Path) -> None:
    base, folder = tiny_config(file), RunFolder(tmp_path)
    data = load_task_data(base).identity
    shared = {"seed": 3, "synthesis.horizon": 3, "world_model.temperature": 1.0, "agent.return_lambda": 0.5}
    names = {model_fingerprint(base.with_values({key: value}), data) for key, value in shared.items()}
    assert names == {model_fingerprint(base, data)}
    other = {"training.discount": 0.9, "world_model.dim": 16, "data.holdout_ratio": 0.3}
    assert len({model_fingerprint(base.with_values({key: value}), data) for key, value in other.items()} - names) == 3
    assert not folder.trials()


def test_the_ring_holds_the_whole_stream_with_gammas_and_the_filters_share(file: Path, tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    config = tiny_config(file, **{"filter": "hardmax", "filter.keep_ratio": 0.25})
    task_data = load_task_data(config)
    model = world_model(config, task_data, folder)
    ring = generated_ring(config, task_data, model)
    assert ring.num_added == 4 * 32 + 22  # a quarter of 128 four times and of 88
    everything = generated_ring(tiny_config(file), task_data, model)
    assert everything.num_added == NUM_SEGMENTS
    batch = everything.sample(64, torch.Generator())
    assert batch.horizon == 2
    assert torch.equal(batch.discount, torch.full((64, 2), 0.99))
    assert torch.equal(batch.source, torch.ones(64))


@pytest.mark.parametrize("model", [ONE_STEP, {**ONE_STEP, "sample": True}])
def test_a_model_that_follows_the_policy_is_rolled_out_within_the_update(
    file: Path, tmp_path: Path, model: dict[str, Any]
) -> None:
    config, folder = tiny_config(file, world_model=model, **{"replay.real_ratio": 0.5}), RunFolder(tmp_path)
    train(config, folder)
    first = weights(config, folder)
    train(config, folder)
    assert all(torch.equal(value, first[name]) for name, value in weights(config, folder).items())


def test_the_run_depends_on_its_seed_but_the_stream_does_not(file: Path, tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    first, second = tiny_config(file), tiny_config(file, seed=1)
    assert train(first, folder)["returns"] != train(second, folder)["returns"]
    task_data = load_task_data(first)
    model = world_model(first, task_data, folder)
    rows = [
        generated_ring(config, task_data, model).sample(50, torch.Generator().manual_seed(0)).obs
        for config in (first, second)
    ]
    assert torch.equal(*rows)

"""Costs of the parts of a run, read from its folder."""

import json
from pathlib import Path
from typing import Any

import pytest
from local_runs import generated_ring, train, world_model
from tiny_task import recording, tiny_config

from dwm_ray.benchmarks.sweep.run_costs import RunCosts, ring_row_bytes, split_cpu, split_seconds
from dwm_ray.blocks.journal import FILE
from dwm_ray.blocks.stream import StreamSpec
from dwm_ray.data.task_data import load_task_data
from dwm_ray.experiment.search_space import Trial
from dwm_ray.runs.folder import RunFailed, RunFolder

ROWS = [
    {"update": 10, "cpu_s": 2.0, "seconds": 3.0, "updates_per_s": 5.0},
    {"update": 20, "cpu_s": 6.0, "seconds": 8.0, "updates_per_s": 10.0},
]
EVALUATIONS = [
    {"update": 10, "cpu_s": 3.0, "seconds": 5.0, "final": False},
    {"update": 20, "cpu_s": 8.0, "seconds": 10.0, "final": True},
]


def test_updates_and_evaluations_are_separated() -> None:
    assert split_cpu(ROWS, EVALUATIONS) == (5.0, 3.0)
    assert split_seconds(ROWS, EVALUATIONS) == (3.0, 4.0, 3.0)


def write(path: Path, *values: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(value) + "\n" for value in values))


@pytest.fixture
def finished(tmp_path: Path) -> RunFolder:
    """A run in one process, with the journal of a stream that samplers would have generated."""
    config, folder = tiny_config(recording(tmp_path / "data.hdf5")), RunFolder(tmp_path / "run")
    trial = folder.trial(Trial(config, {}).id)
    write(trial / "config.json", config.model_dump(mode="json"))
    train(config, folder)
    write(folder.root / "data.json", {"start_pairs": 100})
    [model] = (path.name for path in folder.root.glob("world_models/*"))
    stream = folder.root / "streams" / StreamSpec.of(config, model, 100).fingerprint
    lines = [{"block": n, "rows": 4, "accepted": True, "seconds": 0.5, "cpu_s": 0.25} for n in range(2)]
    write(stream / FILE, *lines, {"cursor": "a", "position": 1, "rows": 4, "open": True})
    shape = {"horizon": 3, "obs_size": 3, "act_size": 1, "num_actions": 1}
    write(stream / "shape.json", shape)
    return folder


def test_a_finished_run_has_the_costs_of_its_parts(finished: RunFolder) -> None:
    found = RunCosts.read(finished.root)
    [model], [stream], [learner] = found.world_models, found.streams, found.learners
    assert (stream.cpu_s, stream.seconds) == (0.5, 1.0)
    assert model.cpu_s > 0
    assert model.peak_bytes > 1e6
    assert learner.agent == "td3_bc"
    assert learner.has_stream
    assert min(learner.update_cpu_s, learner.evaluation_cpu_s, learner.update_s, learner.evaluation_s) > 0
    assert learner.seconds == pytest.approx(learner.update_s + learner.evaluation_s + learner.other_s)
    assert found.cpu_s == pytest.approx(model.cpu_s + stream.cpu_s + learner.cpu_s)
    assert 0 < found.models_at <= learner.done_at


def test_an_unfinished_trial_is_an_error(finished: RunFolder) -> None:
    [log] = finished.root.glob("trials/*/evaluations.jsonl")
    write(log, {"update": 20, "final": False})
    with pytest.raises(RunFailed, match="the trial is not finished"):
        RunCosts.read(finished.root)


def test_a_row_has_the_size_that_a_ring_uses(finished: RunFolder, tmp_path: Path) -> None:
    config = tiny_config(tmp_path / "data.hdf5")
    task_data = load_task_data(config)
    ring = generated_ring(config, task_data, world_model(config, task_data, finished))
    held = sum(part.nbytes for part in (ring._rows, ring._was_sampled))
    assert ring_row_bytes(finished.root, config) * ring.capacity == held
    assert ring_row_bytes(finished.root, tiny_config(tmp_path / "data.hdf5", None)) == 0

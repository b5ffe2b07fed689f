"""What a run's folder tells of it while it goes on."""

import os
from pathlib import Path

import pytest
from rows import write_rows
from tiny_task import DWM, tiny_config

from dwm_ray.blocks.stream import StreamSpec
from dwm_ray.data.task_data import DataIdentity
from dwm_ray.experiment.run_state import read_state
from dwm_ray.runs.folder import RunFolder, set_status
from dwm_ray.runs.row_log import TAIL_BYTES, last_rows
from dwm_ray.runs.tensor_files import write_json
from dwm_ray.tasks.table import task_for
from dwm_ray.world_models.parts.build import model_fingerprint

CONFIG = tiny_config(Path("data.hdf5"))
HOPPER = DataIdentity("0123", task_for("hopper-medium", "Hopper-v5", 1.0).rtg_scale, 100)
MODEL = model_fingerprint(CONFIG, HOPPER)
SPEC = StreamSpec.of(CONFIG, MODEL, HOPPER.num_pairs)


def touch(path: Path, when: float) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    os.utime(path, (when, when))
    return path


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    folder = RunFolder(tmp_path)
    write_json(folder.config, {"profile": "laptop", "run": CONFIG.model_dump(mode="json")})
    write_json(tmp_path / "data.json", {"env_id": "Hopper-v5", "fingerprint": "0123"})
    write_json(folder.trial("t1") / "config.json", CONFIG.model_dump(mode="json"))
    write_json(folder.trial("t1") / "values.json", {"horizon": 2, "seed": 0})
    return folder


def test_a_trial_before_and_after_its_first_row(run: RunFolder) -> None:
    [trial] = read_state(run).trials
    assert (trial.status, trial.update, trial.total, trial.waiting_fraction) == ("pending", 0, 30, None)
    set_status(run.trial("t1"), "running")
    row = {"update": 20, "q_mean": 3.0, "waited_for_segments_s": 5.0, "seconds": 15.0}
    write_rows(run.trial("t1") / "metrics.jsonl", {"update": 10}, row)
    write_rows(run.trial("t1") / "evaluations.jsonl", {"update": 20, "score_mean": 7.0})
    [trial] = read_state(run).trials
    assert (trial.status, trial.update, trial.evaluation["score_mean"]) == ("running", 20, 7.0)
    assert trial.waiting_fraction == 0.25, "5 of 20 seconds"
    write_rows(run.trial("t1") / "metrics.jsonl", {**row, "learner_busy_fraction": 0.9})
    assert read_state(run).trials[0].waiting_fraction == pytest.approx(0.1)


def test_a_model_is_known_by_the_options_of_its_trials(run: RunFolder) -> None:
    write_rows(run.world_model(MODEL) / "metrics.jsonl", {"update": 5, "loss": 1.0})
    write_rows(run.world_model("another") / "metrics.jsonl", {"update": 6})
    mine, other = sorted(read_state(run).models, key=lambda model: model.folder.name != MODEL)
    assert (mine.name, mine.total, mine.trained, mine.row["loss"]) == ("dwm", DWM["num_updates"], False, 1.0)
    assert (other.name, other.total) == (None, DWM["num_updates"]), "all models of this run have equally many"
    set_status(run.world_model(MODEL), "trained")
    assert [model.trained for model in read_state(run).models if model.name] == [True]


def test_options_of_another_version_of_the_code_tell_nothing(run: RunFolder) -> None:
    changed = {**CONFIG.model_dump(mode="json"), "of_the_future": 1}
    write_json(run.trial("t2") / "config.json", changed)
    run.world_model(MODEL).mkdir(parents=True)
    state = read_state(run)
    assert [trial.folder.name for trial in state.trials] == ["t1", "t2"]
    assert state.models[0].name == "dwm"


def test_a_stream_that_grows_and_one_that_is_complete(run: RunFolder) -> None:
    folder = run.root / "streams" / SPEC.fingerprint
    for index, when in ((0, 100.0), (2, 104.0), (4, 102.0)):  # the last block holds 600 - 4 * 128 = 88 rows
        touch(folder / f"block-{index:06d}.parquet", when)
    [stream] = read_state(run).streams
    assert (stream.complete, stream.blocks, stream.rows) == (False, 3, 128 + 128 + 88)
    assert stream.rows_per_s == (128 + 88) / 4, "since the first block was there"
    assert stream.spec is not None
    assert stream.spec.num_blocks == 5
    write_json(folder / "stream.json", {"rows": 600, "blocks": 5, "seconds": 3.0})
    [stream] = read_state(run).streams
    assert (stream.complete, stream.blocks, stream.rows, stream.rows_per_s) == (True, 5, 600, 200.0)


def test_a_run_is_concluded_by_results_that_nothing_follows(run: RunFolder) -> None:
    for path in run.root.rglob("*.json"):
        os.utime(path, (100.0, 100.0))
    assert not read_state(run).concluded
    write_json(run.sweep, {"dropped": {}})
    assert not read_state(run).concluded, "no results yet"
    write_json(run.sweep, {"wall_s": 9.0})
    state = read_state(run)
    assert state.concluded
    assert not state.over, "the trial never ran"
    write_json(run.counters, {"streams_generated": 1})
    os.utime(run.counters, (2e9, 2e9))
    state = read_state(run)
    assert not state.concluded, "somebody resumed it"
    assert (state.counters, state.changed) == ({"streams_generated": 1}, 2e9)


def test_a_running_trial_keeps_a_run_open(run: RunFolder) -> None:
    set_status(run.trial("t1"), "running")
    write_json(run.sweep, {"wall_s": 9.0})
    os.utime(run.sweep, (2e9, 2e9))
    assert not read_state(run).concluded
    set_status(run.trial("t1"), "failed", error="boom")
    state = read_state(run)
    assert state.concluded
    assert state.over
    assert (state.count("failed"), state.trials[0].error) == (1, "boom")


def test_the_end_of_a_long_log_is_read(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    assert last_rows(path, 3) == []
    path.write_text('{"update": 1}\n{"update": 2, "lo')
    assert last_rows(path, 3) == [{"update": 1}]
    write_rows(path, *({"update": update, "text": "x" * 1000} for update in range(200)))
    assert path.stat().st_size > TAIL_BYTES
    assert [row["update"] for row in last_rows(path, 3)] == [197, 198, 199]
    path.write_text("nonsense\n")
    with pytest.raises(ValueError, match=r"metrics\.jsonl: expected one JSON object per line"):
        last_rows(path, 1)

"""Metric rows on disk, in TensorBoard and in Weights & Biases: none lost, none twice."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from local_runs import train
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tiny_task import recording, tiny_config

from dwm_ray.runs.folder import RunFolder
from dwm_ray.runs.row_log import RowLog, open_for_appending, read_rows
from dwm_ray.training.writers import MetricsWriter


def test_rows_come_back_in_order(tmp_path: Path) -> None:
    log = RowLog(tmp_path / "new" / "metrics.jsonl")
    for update in (1, 2):
        log.append({"update": update, "loss": 0.1 * update})
    assert read_rows(log.path) == [{"update": 1, "loss": 0.1}, {"update": 2, "loss": 0.2}]
    assert read_rows(tmp_path / "absent.jsonl") == []


def test_a_resumed_log_drops_rows_beyond_its_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    first = RowLog(path)
    for update in (10, 20, 30):
        first.append({"update": update})
    again = RowLog(path, resume_at=20)
    again.append({"update": 30})
    assert [row["update"] for row in read_rows(path)] == [10, 20, 30]
    RowLog(path)
    assert read_rows(path) == []


def test_a_half_written_row_is_skipped_and_removed_when_the_log_is_opened_again(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"update": 1}\n{"update": 2, "lo')
    assert read_rows(path) == [{"update": 1}]
    RowLog(path, resume_at=5).append({"update": 2})
    assert read_rows(path) == [{"update": 1}, {"update": 2}]


def test_a_row_appended_after_a_half_written_one_stands_alone(tmp_path: Path) -> None:
    path = tmp_path / "new" / "journal.jsonl"
    for text in ('{"update": 1}\n{"upda', '{"update": 2}\n'):
        with open_for_appending(path) as file:
            file.write(text)
    assert read_rows(path) == [{"update": 1}, {"update": 2}]


def test_metrics_and_evaluations_reach_their_files_tensorboard_and_the_callback(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = []
    scores = {"score_mean": 3.0, "returns": [1.0], "final": True}
    with MetricsWriter(tmp_path, on_row=rows.append) as writer:
        writer.metrics(10, {"loss": 0.5})
        writer.evaluation(10, scores)
    assert rows == [{"update": 10, "loss": 0.5}, {"update": 10, **scores}]
    assert [read_rows(tmp_path / f"{name}.jsonl") for name in ("metrics", "evaluations")] == [rows[:1], rows[1:]]
    board = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [(event.step, event.value) for event in board.Scalars("learner/loss")] == [(10, 0.5)]
    assert "evaluation/score_mean" in board.Tags()["scalars"]


def test_a_resumed_writer_retains_rows_up_to_its_update(tmp_path: Path) -> None:
    with MetricsWriter(tmp_path) as writer:
        for update in (10, 20):
            writer.metrics(update, {"loss": 1.0})
            writer.evaluation(update, {"score_mean": 1.0})
    with MetricsWriter(tmp_path, resume_at=10) as writer:
        writer.metrics(20, {"loss": 2.0})
    assert [(row["update"], row["loss"]) for row in read_rows(tmp_path / "metrics.jsonl")] == [(10, 1.0), (20, 2.0)]
    assert [row["update"] for row in read_rows(tmp_path / "evaluations.jsonl")] == [10]


class FakeWandb:
    """Stands in for the module wandb: records the calls by run."""

    def __init__(self) -> None:
        self.runs: dict[str, FakeRun] = {}

    def init(self, **options: Any) -> FakeRun:
        return self.runs.setdefault(options["id"], FakeRun(options))


class FakeRun:
    """Stands in for a run of wandb."""

    def __init__(self, options: dict[str, Any]) -> None:
        self.options, self.exit_codes = options, list[int]()
        self.logged: list[tuple[int, dict[str, float]]] = []

    def log(self, values: dict[str, float], step: int) -> None:
        self.logged.append((step, values))

    def finish(self, exit_code: int) -> None:
        self.exit_codes.append(exit_code)


@pytest.fixture
def wandb(monkeypatch: pytest.MonkeyPatch) -> FakeWandb:
    module = FakeWandb()
    monkeypatch.setitem(sys.modules, "wandb", module)
    return module


def test_a_folder_is_one_wandb_run_in_the_group_of_its_run_folder(tmp_path: Path, wandb: FakeWandb) -> None:
    trial = tmp_path / "hopper-1" / "trials" / "abc"
    config = tiny_config(tmp_path / "absent.hdf5", **{"execution.wandb": "p"})
    with MetricsWriter(trial, config=config) as writer:
        writer.metrics(10, {"loss": 0.5})
        writer.evaluation(10, {"score_mean": 3.0, "returns": [1.0]})
    run = wandb.runs["hopper-1-abc"]
    assert run.options == {
        "project": "p",
        "group": "hopper-1",
        "job_type": "trials",
        "name": "abc",
        "id": "hopper-1-abc",
        "config": config.model_dump(mode="json"),
        "dir": str(trial),
        "resume": "allow",
        "reinit": "create_new",
    }
    assert run.logged == [(10, {"learner/loss": 0.5}), (10, {"evaluation/score_mean": 3.0})]
    with pytest.raises(FloatingPointError), MetricsWriter(trial, 10, config=config):
        raise FloatingPointError
    assert run.exit_codes == [0, 1], "the same run continues"


def test_trials_and_world_models_of_a_run_are_logged_to_wandb(tmp_path: Path, wandb: FakeWandb) -> None:
    config = tiny_config(recording(tmp_path / "pendulum.hdf5"), **{"execution.wandb": "p"})
    folder = RunFolder(tmp_path / "run")
    train(config, folder)
    kinds = {run.options["job_type"]: run for run in wandb.runs.values()}
    assert set(kinds) == {"trials", "world_models"}
    assert kinds["trials"].options["name"] == config.trial_id == tiny_config(tmp_path / "pendulum.hdf5").trial_id
    assert all(run.logged and run.exit_codes == [0] for run in kinds.values())

"""Metric rows on disk, in TensorBoard and in Weights & Biases: none lost, none twice."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from dwm_ray.runs.row_log import RowLog, open_to_append, read_rows
from dwm_ray.training.writers import MetricsWriter, import_wandb


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
        with open_to_append(path) as file:
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


class FakeWandb(SimpleNamespace):
    """Stands in for the module wandb: records the calls."""

    def __init__(self) -> None:
        super().__init__(options={}, logged=[], exit_codes=[])

    def init(self, **options: Any) -> FakeWandb:
        self.options = options
        return self

    def log(self, values: dict[str, float], step: int) -> None:
        self.logged.append((step, values))

    def finish(self, exit_code: int) -> None:
        self.exit_codes.append(exit_code)


def test_a_trial_is_one_wandb_run_in_the_group_of_its_run_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wandb, trial = FakeWandb(), tmp_path / "hopper-1" / "trials" / "abc"
    monkeypatch.setitem(sys.modules, "wandb", wandb)
    trial.mkdir(parents=True)
    (trial / "config.json").write_text(json.dumps({"seed": 3}))
    with MetricsWriter(trial, wandb_project="offline") as writer:
        writer.metrics(10, {"loss": 0.5})
        writer.evaluation(10, {"score_mean": 3.0, "returns": [1.0]})
    assert wandb.options == {
        "project": "offline",
        "group": "hopper-1",
        "job_type": "trials",
        "name": "abc",
        "id": "hopper-1-abc",
        "config": {"seed": 3},
        "dir": str(trial),
        "resume": "allow",
        "reinit": "create_new",
    }
    assert wandb.logged == [(10, {"learner/loss": 0.5}), (10, {"evaluation/score_mean": 3.0})]
    assert wandb.exit_codes == [0]


def test_a_failed_trial_ends_its_wandb_run_with_a_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wandb = FakeWandb()
    monkeypatch.setitem(sys.modules, "wandb", wandb)
    with pytest.raises(FloatingPointError), MetricsWriter(tmp_path, wandb_project="offline"):
        raise FloatingPointError
    assert wandb.exit_codes == [1]


def test_a_missing_wandb_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(ValueError, match=r"execution.wandb: .* not installed; expected .*dwm-ray\[wandb\]"):
        import_wandb()

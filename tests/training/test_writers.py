"""Rows on disk: none lost, none twice."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from dwm_ray.runs.row_log import RowLog, open_to_append, read_rows
from dwm_ray.training.writers import MetricsWriter


def test_rows_come_back_in_order(tmp_path: Path) -> None:
    log = RowLog(tmp_path / "new" / "metrics.jsonl")
    for update in (1, 2):
        log.append({"update": update, "loss": 0.1 * update})
    assert read_rows(log.path) == [{"update": 1, "loss": 0.1}, {"update": 2, "loss": 0.2}]
    assert read_rows(tmp_path / "absent.jsonl") == []


def test_a_resumed_log_drops_what_will_be_done_again(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    first = RowLog(path)
    for update in (10, 20, 30):
        first.append({"update": update})
    again = RowLog(path, resume_at=20)
    again.append({"update": 30})
    assert [row["update"] for row in read_rows(path)] == [10, 20, 30]
    RowLog(path)
    assert read_rows(path) == []


def test_rows_are_told_as_they_are_written(tmp_path: Path) -> None:
    told: list[dict[str, Any]] = []
    with MetricsWriter(tmp_path, tell=told.append) as writer:
        writer.metrics(10, {"loss": 0.5})
        writer.evaluation(10, {"score_mean": 3.0})
    assert told == [{"update": 10, "loss": 0.5}, {"update": 10, "score_mean": 3.0}]


def test_a_row_that_was_cut_off_is_passed_over_and_goes_when_the_log_is_opened_again(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"update": 1}\n{"update": 2, "lo')
    assert read_rows(path) == [{"update": 1}]
    RowLog(path, resume_at=5).append({"update": 2})
    assert read_rows(path) == [{"update": 1}, {"update": 2}]


def test_what_is_appended_to_a_file_that_was_cut_off_stands_alone(tmp_path: Path) -> None:
    path = tmp_path / "new" / "journal.jsonl"
    for text in ('{"update": 1}\n{"upda', '{"update": 2}\n'):
        with open_to_append(path) as file:
            file.write(text)
    assert read_rows(path) == [{"update": 1}, {"update": 2}]


def test_metrics_and_evaluations_are_apart_and_in_tensorboard(tmp_path: Path) -> None:
    with MetricsWriter(tmp_path) as writer:
        writer.metrics(10, {"loss": 0.5})
        writer.evaluation(10, {"score_mean": 3.0, "returns": [1.0], "final": True})
    assert read_rows(tmp_path / "metrics.jsonl") == [{"update": 10, "loss": 0.5}]
    assert read_rows(tmp_path / "evaluations.jsonl") == [
        {"update": 10, "score_mean": 3.0, "returns": [1.0], "final": True}
    ]
    board = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [(event.step, event.value) for event in board.Scalars("learner/loss")] == [(10, 0.5)]
    assert "evaluation/score_mean" in board.Tags()["scalars"]


def test_a_resumed_writer_keeps_what_stands_before_its_update(tmp_path: Path) -> None:
    with MetricsWriter(tmp_path) as writer:
        for update in (10, 20):
            writer.metrics(update, {"loss": 1.0})
            writer.evaluation(update, {"score_mean": 1.0})
    with MetricsWriter(tmp_path, resume_at=10) as writer:
        writer.metrics(20, {"loss": 2.0})
    assert [(row["update"], row["loss"]) for row in read_rows(tmp_path / "metrics.jsonl")] == [(10, 1.0), (20, 2.0)]
    assert [row["update"] for row in read_rows(tmp_path / "evaluations.jsonl")] == [10]

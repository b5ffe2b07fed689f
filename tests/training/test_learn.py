"""The learner's loop: when it pauses, whom it tells, and what a resumed one does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dwm_ray.config import RunConfig
from dwm_ray.runs.row_log import read_rows
from dwm_ray.training.learn import learn, milestones
from dwm_ray.training.writers import MetricsWriter


def config(num_updates: int = 50, log_every: int = 10, checkpoint_every: int = 20, every: int = 25) -> RunConfig:
    training = {"num_updates": num_updates, "log_every": log_every, "checkpoint_every": checkpoint_every}
    evaluation = {"every": every, "num_episodes": 7, "curve_episodes": 2}
    tree = {"agent": "td3_bc", "filter": "keep_all", "training": training, "evaluation": evaluation}
    return RunConfig.model_validate(tree)


class Trainer:
    """Counts updates."""

    def __init__(self, update: int = 0) -> None:
        self.update = update
        self.runs: list[int] = []

    def run(self, num_updates: int) -> dict[str, float]:
        self.update += num_updates
        self.runs.append(num_updates)
        return {"critic_loss": float(self.update)}


def learned(folder: Path, trainer: Trainer, **more: Any) -> tuple[dict[str, Any], list[dict[str, Any]], list[int]]:
    told: list[dict[str, Any]] = []
    episodes: list[int] = []

    def evaluate(num_episodes: int) -> dict[str, Any]:
        episodes.append(num_episodes)
        return {"score_mean": float(trainer.update)}

    with MetricsWriter(folder, trainer.update) as writer:
        final = learn(trainer, config(), writer, evaluate, told.append, **more)  # type: ignore[arg-type]
    return final, told, episodes


def test_milestones_golden() -> None:
    assert milestones(config()) == [10, 20, 25, 30, 40, 50]
    assert milestones(config(num_updates=9)) == [9]
    assert milestones(config(num_updates=45, log_every=100, checkpoint_every=100, every=100)) == [45]


@given(total=st.integers(1, 300), periods=st.tuples(*[st.integers(1, 99)] * 3))
def test_milestones_rise_to_the_last_update_and_miss_no_period(total: int, periods: tuple[int, int, int]) -> None:
    marks = milestones(config(total, *periods))
    assert marks == sorted(set(marks))
    assert marks[-1] == total
    for mark in range(1, total):
        assert (mark in marks) is any(mark % period == 0 for period in periods)


def test_every_pause_logs_and_the_right_ones_evaluate_and_checkpoint(tmp_path: Path) -> None:
    trainer = Trainer()
    final, told, episodes = learned(tmp_path, trainer, gauges=lambda: {"synthetic_rows": 5.0})
    rows = read_rows(tmp_path / "metrics.jsonl")
    assert [row["update"] for row in rows] == [row["critic_loss"] for row in rows] == [10, 20, 25, 30, 40, 50]
    assert all(row["synthetic_rows"] == 5.0 and row["updates_per_s"] > 0 for row in rows)
    assert [(row["update"], row["final"]) for row in read_rows(tmp_path / "evaluations.jsonl")] == [
        (25, False),
        (50, True),
    ]
    assert episodes == [2, 7]
    assert [row["update"] for row in told] == [20, 25, 40, 50]
    assert [row.get("score_mean") for row in told] == [None, 25.0, 25.0, 50.0]
    assert final["score_mean"] == 50.0
    assert final["final"]
    assert sum(trainer.runs) == 50


def test_a_resumed_learner_goes_on_where_it_stood(tmp_path: Path) -> None:
    learned(tmp_path, Trainer())
    trainer = Trainer(update=25)
    final, told, _ = learned(tmp_path, trainer, seconds_before=100.0)
    assert trainer.runs == [5, 10, 10]
    assert [row["update"] for row in told] == [40, 50]
    assert final["seconds"] > 100
    assert [row["update"] for row in read_rows(tmp_path / "metrics.jsonl")] == [10, 20, 25, 30, 40, 50]
    assert [row["update"] for row in read_rows(tmp_path / "evaluations.jsonl")] == [25, 50]


def test_a_learner_resumed_between_pauses_reaches_the_next_one(tmp_path: Path) -> None:
    trainer = Trainer(update=22)
    learned(tmp_path, trainer)
    assert trainer.runs == [3, 5, 10, 10]


def test_a_learner_cut_off_after_its_last_checkpoint_still_knows_its_score(tmp_path: Path) -> None:
    learned(tmp_path, Trainer())
    before = (tmp_path / "evaluations.jsonl").read_text()
    final, told, episodes = learned(tmp_path, Trainer(update=50), seconds_before=9.0)
    assert (final["score_mean"], final["final"], told, episodes) == (50.0, True, [], [7])
    assert final["seconds"] >= 9.0
    assert (tmp_path / "evaluations.jsonl").read_text() == before


def test_what_breaks_the_gauges_breaks_the_learner(tmp_path: Path) -> None:
    def broken() -> dict[str, float]:
        raise RuntimeError("the stream broke")

    with pytest.raises(RuntimeError, match="the stream broke"):
        learned(tmp_path, Trainer(), gauges=broken)

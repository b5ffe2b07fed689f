"""Files of a trial at its milestones, and trials that diverge."""

from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dwm_ray.config import RunConfig
from dwm_ray.evaluation import evaluators
from dwm_ray.evaluation.evaluators import simulated
from dwm_ray.evaluation.rollout import Diverged
from dwm_ray.runs.clock import Clock
from dwm_ray.runs.folder import RunFolder, read_json, status_of
from dwm_ray.runs.row_log import read_rows
from dwm_ray.training import member as module
from dwm_ray.training.checkpoints import saved_update
from dwm_ray.training.member import Member, milestones
from dwm_ray.training.trials import _learn


def config(num_updates: int = 50, log_every: int = 10, checkpoint_every: int = 20, every: int = 25) -> RunConfig:
    training = {"num_updates": num_updates, "log_every": log_every, "checkpoint_every": checkpoint_every}
    evaluation = {"every": every, "num_episodes": 7, "curve_episodes": 2}
    tree = {"agent": "td3_bc", "filter": "keep_all", "training": training, "evaluation": evaluation}
    return RunConfig.model_validate(tree)


def test_milestones_golden() -> None:
    assert milestones(config()) == [10, 20, 25, 30, 40, 50]
    assert milestones(config(num_updates=9)) == [9]
    assert milestones(config(num_updates=45, log_every=100, checkpoint_every=100, every=100)) == [45]


@given(total=st.integers(1, 300), periods=st.tuples(*[st.integers(1, 99)] * 3))
def test_milestones_increase_to_the_last_update_and_include_every_period(
    total: int, periods: tuple[int, int, int]
) -> None:
    marks = milestones(config(total, *periods))
    assert marks == sorted(set(marks))
    assert marks[-1] == total
    for mark in range(1, total):
        assert (mark in marks) is any(mark % period == 0 for period in periods)


class CountingLearner:
    """Counts updates; the metric of member `nan_member` is NaN from update 30 on."""

    def __init__(self, num_members: int = 1, nan_member: int | None = None) -> None:
        self.update, self.runs = 0, list[int]()
        self._num_members, self._nan_member = num_members, nan_member

    def run(self, num_updates: int) -> list[dict[str, float]]:
        self.update += num_updates
        self.runs.append(num_updates)
        broken = [self.update >= 30 and member == self._nan_member for member in range(self._num_members)]
        return [{"critic_loss": float("nan") if nan else float(self.update)} for nan in broken]

    def state_dicts(self) -> list[dict[str, Any]]:

        return [{"update": torch.tensor(self.update)} for _ in range(self._num_members)]

    def load_state_dicts(self, states: list[dict[str, Any]]) -> None:
        self.update = int(states[0]["update"])


class Trials:
    """Members in a run folder, whose evaluations and policies are recorded instead of made."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch, learner: CountingLearner, num: int = 1) -> None:
        self.learner, self.run = learner, RunFolder(root)
        self.episodes: list[int] = []
        self.rows: list[tuple[str, dict[str, Any]]] = []
        self.gauges: dict[str, float] = {"synthetic_rows": 5.0}
        monkeypatch.setattr(evaluators, "evaluate_agent", self._evaluate)
        monkeypatch.setattr(module, "save_agent", lambda folder, *args: folder.mkdir())
        configs = [config().with_values({"seed": seed}) for seed in range(num)]
        self.members = [
            Member(own, None, None, self.run, partial(simulated, own, None), lambda: self.gauges)  # type: ignore[arg-type]
            for own in configs
        ]

    def _evaluate(self, agent: Any, own: RunConfig, task_data: Any, num_episodes: int) -> dict[str, Any]:
        self.episodes.append(num_episodes)
        return {"score_mean": float(self.learner.update)}

    def train(self) -> None:
        services = SimpleNamespace(on_row=lambda trial, row: self.rows.append((trial, row)))
        _learn(self.learner, self.members, services)  # type: ignore[arg-type]

    def log(self, name: str, member: int = 0) -> list[dict[str, Any]]:
        return read_rows(self.members[member].folder / f"{name}.jsonl")


@pytest.fixture
def trials(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Trials:
    return Trials(tmp_path, monkeypatch, CountingLearner())


def test_every_milestone_logs_and_the_right_ones_evaluate_and_checkpoint(trials: Trials) -> None:
    saved: list[int] = []
    [member] = trials.members
    member.save = lambda state: saved.append(int(state["update"]))  # type: ignore[method-assign]
    trials.train()
    rows = trials.log("metrics")
    assert [row["update"] for row in rows] == [row["critic_loss"] for row in rows] == [10, 20, 25, 30, 40, 50]
    assert all(row["synthetic_rows"] == 5.0 for row in rows)
    assert [(row["update"], row["final"]) for row in trials.log("evaluations")] == [(25, False), (50, True)]
    assert trials.episodes == [2, 7]
    assert saved == [20, 25, 40, 50]
    assert [row["update"] for _, row in trials.rows] == [10, 20, 25, 25, 30, 40, 50, 50]
    assert {trial for trial, _ in trials.rows} == {member.id}
    assert sum(trials.learner.runs) == 50
    assert status_of(member.folder) == "done"


@pytest.mark.parametrize(("update", "runs"), [(25, [5, 10, 10]), (22, [3, 5, 10, 10])])
def test_a_resumed_trial_continues_at_its_checkpoint(trials: Trials, update: int, runs: list[int]) -> None:

    [member] = trials.members
    module.save_state(member.folder, {"update": torch.tensor(update)}, 100.0)
    trials.train()
    assert trials.learner.runs == runs
    assert trials.log("evaluations")[-1]["seconds"] > 100
    assert saved_update(member.folder) == 50


def test_a_trial_interrupted_after_its_last_update_is_evaluated_again(trials: Trials) -> None:

    [member] = trials.members
    module.save_state(member.folder, {"update": torch.tensor(50)}, 9.0)
    trials.train()
    assert (trials.learner.runs, trials.episodes) == ([], [7])
    assert read_json(member.folder / "status.json")["seconds"] >= 9.0


@pytest.mark.parametrize("nan_member", [0, 2])
def test_a_member_that_diverges_fails_and_the_others_continue(
    nan_member: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trials = Trials(tmp_path, monkeypatch, CountingLearner(3, nan_member), num=3)
    trials.train()
    assert [status_of(member.folder) == "failed" for member in trials.members] == [
        member == nan_member for member in range(3)
    ]
    failed = trials.members[nan_member]
    status = read_json(failed.folder / "status.json")
    assert status["error"].startswith("learning diverged before update 30: critic_loss not finite")
    assert trials.log("metrics", nan_member)[-1]["update"] == 25
    assert saved_update(failed.folder) == 25
    assert not (failed.folder / "checkpoint").exists()


def test_a_member_whose_actions_diverge_before_its_metrics_fails_and_the_others_continue(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trials = Trials(tmp_path, monkeypatch, CountingLearner(2), num=2)

    def diverged(last: bool) -> dict[str, Any]:
        raise Diverged

    monkeypatch.setattr(trials.members[0], "_evaluate", diverged)
    trials.train()
    assert [status_of(member.folder) for member in trials.members] == ["failed", "done"]
    error = read_json(trials.members[0].folder / "status.json")["error"]
    assert error.startswith("learning diverged before update 25: actions not finite")
    assert saved_update(trials.members[0].folder) == 25  # checkpoints are saved before evaluations


def test_training_ends_when_every_member_has_failed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trials = Trials(tmp_path, monkeypatch, CountingLearner(1, 0))
    trials.train()
    assert trials.learner.update == 30


def test_an_error_of_the_gauges_ends_the_trial(trials: Trials, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> dict[str, float]:
        raise RuntimeError("the stream broke")

    monkeypatch.setattr(trials.members[0], "_gauges", broken)
    with pytest.raises(RuntimeError, match="the stream broke"):
        trials.train()


def test_seconds_are_shared_by_members() -> None:
    clock = Clock(10.0, num_members=2)
    assert 10.0 <= clock.seconds < 11.0


def test_an_evaluation_that_fails_keeps_the_checkpoint_and_is_made_up_for(
    trials: Trials, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*args: Any) -> dict[str, Any]:
        raise RuntimeError("the simulator is gone")

    [member] = trials.members
    with monkeypatch.context() as patch:
        patch.setattr(evaluators, "evaluate_agent", broken)
        with pytest.raises(RuntimeError, match="the simulator is gone"):
            trials.train()
    assert saved_update(member.folder) == 25
    trials.learner.runs.clear()
    trials.train()
    assert trials.learner.runs == [5, 10, 10]
    assert [row["update"] for row in trials.log("evaluations")] == [25, 50]
    assert status_of(member.folder) == "done"


def test_a_recorded_evaluation_is_not_repeated(trials: Trials) -> None:
    [member] = trials.members
    module.save_state(member.folder, {"update": torch.tensor(50)}, 9.0)
    (member.folder / "evaluations.jsonl").write_text('{"update": 50, "final": true, "seconds": 12.5}\n')
    trials.train()
    assert trials.episodes == []
    assert read_json(member.folder / "status.json")["seconds"] == 12.5

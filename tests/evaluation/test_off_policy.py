"""Off-policy estimates: values that are known exactly, and what a run without an environment writes."""

import html
import json
from pathlib import Path

import numpy as np
import pytest
import tiny_task
import torch
from programs import load_program

from dwm_ray.config import RunConfig
from dwm_ray.data.checks import episodes_from
from dwm_ray.data.task_data import TaskData
from dwm_ray.evaluation import fqe
from dwm_ray.evaluation.fqe import FittedQ
from dwm_ray.evaluation.logged_data import LoggedData
from dwm_ray.evaluation.off_policy import NUM_MODELS, OffPolicyEvaluator, estimation_config, imagined_returns
from dwm_ray.report.comparison_report import ESTIMATES_NOTE
from dwm_ray.types import DataCard
from dwm_ray.world_models.parts.build import new_model

DISCOUNT = 0.9
LENGTH = 5


def config(discount: float = DISCOUNT) -> RunConfig:
    options = {"training": {"discount": discount}, "data": {"holdout_ratio": 0.2}, "task": "chain"}
    return RunConfig.model_validate({"agent": "bc", "filter": "keep_all", **options})


def chain(ends_by: str, num_episodes: int = 40) -> LoggedData:
    """Return episodes of 5 steps; states hold step and episode, actions are the rewards, the first state follows."""
    num = num_episodes * LENGTH
    steps = np.tile(np.arange(LENGTH), num_episodes)
    act = np.random.default_rng(0).uniform(-1, 1, (num, 1))
    ends = steps == LENGTH - 1
    episode = np.repeat(np.arange(num_episodes) / num_episodes, LENGTH)
    arrays = {
        "observations": np.stack([steps, episode], 1),
        "next_observations": np.stack([(steps + 1) % LENGTH, episode], 1),
        "actions": act,
        "rewards": act[:, 0],
        "terminals": ends & (ends_by == "terminals"),
        "timeouts": ends & (ends_by == "timeouts"),
    }
    run = config()
    task_data = TaskData.of(run, episodes_from(arrays, DataCard("chain", "file", "chain.hdf5", None, "")))
    return LoggedData.of(run, task_data, torch.device("cpu"))


def constant(value: float) -> object:
    return lambda obs: torch.full((len(obs), 1), value)


@pytest.mark.parametrize(
    ("ends_by", "steps"), [("terminals", sum(DISCOUNT**t for t in range(LENGTH))), ("timeouts", 1 / (1 - DISCOUNT))]
)
def test_terminations_end_a_return_and_timeouts_do_not(ends_by: str, steps: float) -> None:
    data = chain(ends_by)
    critics, policy = FittedQ(data, 200, torch.Generator().manual_seed(0)), constant(0.5)
    critics.fit(policy, 600)  # type: ignore[arg-type]
    values = critics.values(data.starts, policy)  # type: ignore[arg-type]
    assert values.shape == (fqe.NUM_CRITICS, 8)
    assert float(values.mean()) == pytest.approx(0.5 * steps, rel=0.1)


def test_later_estimates_continue_and_the_final_one_starts_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    created: list[int] = []

    class Critics:
        def __init__(self, *args: object) -> None:
            created.append(0)

        def fit(self, policy: object, num_updates: int) -> None:
            created.append(num_updates)

        def values(self, obs: torch.Tensor, policy: object) -> torch.Tensor:
            return torch.zeros(2, len(obs))

    monkeypatch.setattr("dwm_ray.evaluation.off_policy.FittedQ", Critics)
    monkeypatch.setattr("dwm_ray.evaluation.off_policy.imagined_returns", lambda *args: torch.zeros(2, 8))
    run = config().with_values({"evaluation.estimate_updates": 80})
    evaluator = OffPolicyEvaluator(run, chain("timeouts"), None)  # type: ignore[arg-type]

    class Agent:
        act = staticmethod(constant(0.0))

    for final in (False, False, True):
        row = evaluator.evaluate(Agent, final)  # type: ignore[arg-type]
    assert created == [0, 80, 20, 0, 80]
    assert row["estimate_distance"] == pytest.approx(1.0, rel=0.15)  # a constant policy, against a random one


def test_every_model_is_rolled_out_alone_and_stays_in_the_range_of_the_data() -> None:
    data = chain("timeouts")
    run = estimation_config(config())
    arrays = {"observations": np.zeros((4, 2)), "actions": np.ones((4, 1)), "rewards": np.zeros(4)}
    ends = {"terminals": np.zeros(4, bool), "timeouts": np.array([0, 1, 0, 1], bool)}
    task_data = TaskData.of(run, episodes_from({**arrays, **ends}, DataCard("x", "file", "x.hdf5", None, "")))
    model = new_model(run, task_data, torch.device("cpu"))
    result = imagined_returns(model, constant(0.0), data, 7, torch.Generator().manual_seed(0))  # type: ignore[arg-type]
    assert result.shape == (NUM_MODELS, 8)
    assert len({float(value) for value in result[:, 0]}) == NUM_MODELS
    assert result.abs().max() <= sum(DISCOUNT**t for t in range(7))


def test_programs_rank_by_estimates_without_an_environment(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tiny_task.recording(tmp_path / "p.hdf5")
    small = (
        "--updates 20 --training.batch-size 16 --evaluation.estimate-updates 20 --evaluation.estimate-model-updates 20"
    )
    args = f"--in-process --methods bc td3bc --seeds 1 --task logs --data {file} --env none --profile laptop {small}"
    assert load_program("pipelines/compare.py").main([*args.split(), "--output", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert "no environment: 3 observations, 1 actions from -2 (the data) to 2 (the data)" in printed
    [run] = tmp_path.glob("logs-*")
    results, comparison = (json.loads((run / f"{name}.json").read_text()) for name in ("results", "comparison"))
    assert comparison["tasks"][0]["score_unit"] == results["score_unit"] == "estimated value (FQE)"
    assert [trial["score_mean"] for trial in results["trials"]] == [None, None]
    values = {trial["id"]: trial["estimate"]["fqe"] for trial in results["trials"]}
    assert results["best"]["id"] == max(values, key=lambda name: values[name])
    assert {method["runs"][0]["score"] for method in comparison["tasks"][0]["methods"]} == set(values.values())
    assert "Estimates from recorded data, not scores" in (run / "report.html").read_text()
    assert ESTIMATES_NOTE in html.unescape((run / "comparison.html").read_text())

    assert load_program("pipelines/evaluate.py").main([str(run), "--offline"]) == 0
    again = {path.parent.name: json.loads(path.read_text()) for path in run.glob("trials/*/estimates.json")}
    assert {name: row["estimate_fqe"] for name, row in again.items()} == values  # the final estimates start anew
    assert load_program("pipelines/evaluate.py").main([str(run)]) == 2
    assert "was trained without an environment; expected --offline" in capsys.readouterr().err

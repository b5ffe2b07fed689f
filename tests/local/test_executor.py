"""Trials that learn as a population leave what each leaves alone; which trials can; what becomes of one that fails."""

from pathlib import Path
from typing import Any

import pytest
import torch
from local_runs import train, trial_of
from programs import load_program
from tiny_task import DWM, ONE_STEP, recording, tiny_config

from dwm_ray.agents.base import Agent, new_agent
from dwm_ray.config import RunConfig
from dwm_ray.data.task_data import TaskData, load_task_data
from dwm_ray.experiment.grouping import groups
from dwm_ray.local.compatibility import try_pair
from dwm_ray.local.executor import run_configs
from dwm_ray.registry import find, plugins
from dwm_ray.runs.folder import RunFolder, read_json, status_of
from dwm_ray.runs.row_log import read_rows
from dwm_ray.training import trials
from dwm_ray.training.stores import load_agent
from dwm_ray.world_models.base import WorldModel

SMALL = {"agent.hidden_size": 32}


def files_of(folder: Path) -> set[str]:
    return {
        str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file() and "tfevents" not in str(path)
    }


def assert_same_trial(one: Path, other: Path) -> None:
    """Files, weights, scores and metrics of a trial, but for speed and the number of members."""
    assert files_of(one) == files_of(other)
    own, theirs = (load_agent(folder / "checkpoint", torch.device("cpu"))[0].state_dict() for folder in (one, other))
    for key, value in own.items():
        torch.testing.assert_close(theirs[key], value, rtol=1e-3, atol=1e-4, msg=key)
    for log, costs in (("metrics", ["updates_per_s", "max_rss_bytes", "num_members"]), ("evaluations", ["policy_ms"])):
        for row, other_row in zip(read_rows(one / f"{log}.jsonl"), read_rows(other / f"{log}.jsonl"), strict=True):
            for cost in ["seconds", "cpu_s", "consumed_fraction", *costs]:
                row.pop(cost, None), other_row.pop(cost, None)
            assert other_row.keys() == row.keys()
            assert other_row == {key: pytest.approx(value, rel=1e-2, abs=1e-2) for key, value in row.items()}
    assert read_json(one / "status.json")["updates"] == read_json(other / "status.json")["updates"]
    assert status_of(one) == status_of(other) == "done"


RECORDED = {"name": "recorded"}
MEMBERS: dict[str, list[dict[str, Any]]] = {
    "model-free": [{"world_model": None, "seed": seed} for seed in range(3)],
    "model-free and recorded futures": [{"world_model": None}, {"world_model": RECORDED}],
    "horizons and return-to-go": [
        {"seed": 0},
        {"seed": 1, "synthesis.horizon": 3},
        {"seed": 2, "synthesis.target_rtg": 0.1, "filter": "hardmax", "replay.real_ratio": 0.25},
    ],
    "recorded futures": [
        {"world_model": RECORDED, "seed": 0},
        {"world_model": RECORDED, "seed": 1, "synthesis.horizon": 9, "replay.real_ratio": 0.25},
    ],
    "hyper-parameters": [{"world_model": None, "agent": "iql", "agent.expectile": tau} for tau in (0.6, 0.9)],
}


@pytest.mark.parametrize("case", MEMBERS)
def test_a_population_leaves_what_its_members_leave_alone(case: str, file: Path, tmp_path: Path) -> None:
    configs = [tiny_config(file, options.get("world_model", DWM)) for options in MEMBERS[case]]
    own = [{key: value for key, value in options.items() if key != "world_model"} for options in MEMBERS[case]]
    configs = [config.with_values({**SMALL, **more}) for config, more in zip(configs, own, strict=True)]
    assert groups(configs, 8) == [configs]
    alone, together = RunFolder(tmp_path / "alone"), RunFolder(tmp_path / "together")
    run_configs(configs, together, load_task_data(configs[0]).episodes, 8)
    for config in configs:
        train(config, alone)
        assert_same_trial(trial_of(config, alone), trial_of(config, together))
        assert read_rows(trial_of(config, together) / "metrics.jsonl")[0]["num_members"] == len(configs)


def test_groups(file: Path) -> None:
    base = tiny_config(file)
    seeds = [base.with_values({"seed": seed}) for seed in range(5)]
    assert groups(seeds, 8) == [seeds]
    assert groups(seeds, 4) == [seeds[:3], seeds[3:]]
    assert groups(seeds, 1) == [[config] for config in seeds]
    rates = [base.with_values({"agent.learning_rate": rate, "seed": seed}) for seed in (0, 1) for rate in (1e-3, 1e-4)]
    assert groups(rates, 8) == [rates[0::2], rates[1::2]]
    others = {"agent": "iql", "training.batch_size": 8, "evaluation.every": 5, "agent.penalty_weight": 1.0}
    for option, value in others.items():
        assert len(groups([base, base.with_values({option: value})], 8)) == 2, option
    assert len(groups([base, tiny_config(file, None)], 8)) == 2
    assert groups(seeds, 8, lambda config: 10 * (config.seed == 2)) == [[*seeds[:2], *seeds[3:]], [seeds[2]]]
    for lonely in (tiny_config(file, ONE_STEP), base.with_values({"agent": "cql"})):
        assert len(groups([lonely, lonely.with_values({"seed": 1})], 8)) == 2


def test_a_member_that_diverges_is_recorded_and_the_others_go_on(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(config: RunConfig, *more: Any) -> Agent:
        agent = new_agent(config, *more)
        if config.seed == 1:
            with torch.no_grad():
                next(agent.parameters()).fill_(torch.inf)
        return agent

    monkeypatch.setattr(trials, "new_agent", broken)
    configs = [tiny_config(file, None, **SMALL, seed=seed) for seed in range(3)]
    run_configs(configs, RunFolder(tmp_path), load_task_data(configs[0]).episodes, 8)
    folders = [trial_of(config, RunFolder(tmp_path)) for config in configs]
    assert [status_of(folder) for folder in folders] == ["done", "failed", "done"]
    assert "learning diverged before update 10" in read_json(folders[1] / "status.json")["error"]
    assert not (folders[1] / "checkpoint").exists()


def words(file: Path, output: Path) -> list[str]:
    data = ["--data", str(file), "--task", "pendulum", "--profile", "laptop", "--output", str(output)]
    return [*data, "--updates", "10", "--evaluation.num-episodes", "1"]


def test_a_run_that_diverges_ends_with_its_cause(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train = load_program("pipelines/train.py")
    own = ["--world-model", "none", "--in-process", "--agent.learning-rate", "1e30", "--agent.target-clip", "none"]
    assert train.main([*words(file, tmp_path), *own]) == 1
    out = capsys.readouterr().out
    assert "failed: learning diverged before update 10: critic_loss" in out
    assert out.splitlines()[-1] == str(next(tmp_path.iterdir()))


TOGETHER = ["--in-process", "--population", "2"]


def test_a_sweep_in_one_process(file: Path, tmp_path: Path) -> None:
    sweep = load_program("pipelines/sweep.py")
    own = ["--world-model", "none", "--agents", "td3_bc", "--dimensions", "--seeds", "3", *TOGETHER]
    assert sweep.main([*words(file, tmp_path), *own]) == 0
    (folder,) = tmp_path.iterdir()
    before = {path: path.stat().st_mtime_ns for path in folder.glob("trials/*/status.json")}
    assert [read_json(path)["status"] for path in before] == ["done"] * 3
    assert sorted(read_json(path.with_name("config.json"))["seed"] for path in before) == [0, 1, 2]
    assert len(read_json(folder / "results.json")["trials"]) == 3
    assert not (folder / "world_models").exists()
    first = next(iter(before))
    first.unlink()
    assert sweep.main(["--resume", str(folder), *TOGETHER]) == 0
    after = {path: path.stat().st_mtime_ns for path in before}
    assert {path for path in before if after[path] != before[path]} == {first}


def test_recorded_futures_in_a_sweep_without_training_or_storing_anything(file: Path, tmp_path: Path) -> None:
    sweep = load_program("pipelines/sweep.py")
    axes = ["--dimensions", "horizon=1,10", "target_rtg", "keep_ratio", "--agents", "td3_bc", "--seeds", "1"]
    assert sweep.main([*words(file, tmp_path), "--world-models", "recorded", *axes, *TOGETHER]) == 0
    (folder,) = tmp_path.iterdir()
    result = {trial["method"]: [] for trial in read_json(folder / "results.json")["trials"]}
    for trial in read_json(folder / "results.json")["trials"]:
        assert trial["status"] == "done"
        result[trial["method"]].append(trial["values"].get("horizon"))
    assert {method: sorted(values, key=str) for method, values in result.items()} == {
        "TD3+BC": [None],
        "Recorded-TD3+BC": [1, 10],
    }
    assert "Recorded-TD3+BC" in (folder / "report.html").read_text()
    assert not (folder / "world_models").exists()
    assert not (folder / "streams").exists()


def test_a_comparison_in_one_process(file: Path, tmp_path: Path) -> None:
    compare = load_program("pipelines/compare.py")
    own = ["--methods", "td3bc", "bc", "--seeds", "2", "--population", "4", "--in-process"]
    assert compare.main([*words(file, tmp_path), *own]) == 0
    (folder,) = tmp_path.iterdir()
    logs = [read_rows(path) for path in folder.glob("trials/*/metrics.jsonl")]
    assert [rows[-1]["num_members"] for rows in logs] == [2] * 4


@pytest.mark.parametrize("own", [["--search", "optuna"], ["--scheduler", "asha"]])
def test_trials_that_end_at_times_of_their_own_are_refused(
    own: list[str], file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep = load_program("pipelines/sweep.py")
    assert sweep.main([*words(file, tmp_path), *own, "--population", "4"]) == 2
    assert "--population: members of a population start and end together" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


MODELS: dict[str, WorldModel] = {}


@pytest.fixture(scope="module")
def task_data(tmp_path_factory: pytest.TempPathFactory) -> TaskData:
    return load_task_data(tiny_config(recording(tmp_path_factory.mktemp("data") / "pendulum.hdf5")))


@pytest.mark.parametrize("agent", list(plugins("agents")))
@pytest.mark.parametrize("world_model", ["none", *plugins("world_models")])
def test_every_pair_runs_or_says_why_not(task_data: TaskData, world_model: str, agent: str) -> None:
    torch.set_num_threads(1)
    pair = try_pair(task_data, "laptop", world_model, agent, MODELS)
    plans = find("agents", agent).plans
    if plans and world_model != "dwm":
        assert pair.status == "rejected"
        assert "agent decision_diffuser plans" in pair.note
    elif world_model == "none":
        assert pair.status == "model-free"
    else:
        assert pair.status == "plans" if plans else pair.status in ("recorded", "stream", "on-policy", "inline")

"""Comparison of methods by name, and the program that runs it."""

import json
import shutil
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from programs import load_program
from tiny_task import recording

from dwm_ray import registry
from dwm_ray.config import RunConfig
from dwm_ray.data.task_data import DataIdentity
from dwm_ray.experiment import profiles
from dwm_ray.experiment.comparison import (
    ComparisonConfig,
    Entry,
    describe_entries,
    known_methods,
    make_comparison,
    method_names,
    parse_method,
    path_of,
    plain,
    spelling,
    trials_of,
)
from dwm_ray.runs.clock import Clock
from dwm_ray.runs.folder import RunFolder, set_status
from dwm_ray.world_models.parts.build import model_fingerprint

DATA = DataIdentity("0123456789abcdef", 1200.0, 100)


def run_options(**options: Any) -> RunConfig:
    return profiles.run_config("laptop", "dwm").with_values(options)


def entries(*methods: str, run: RunConfig | None = None, seeds: int = 2) -> list[Entry]:
    return make_comparison(ComparisonConfig(methods=methods, seeds=seeds), run or run_options(), "laptop")


@pytest.mark.parametrize("name", ["dwm-td3bc", "DWM-TD3+BC", "dwm_td3_bc", "Dwm TD3-BC"])
def test_names_ignore_case_and_separators(name: str) -> None:
    method = parse_method(name)
    assert (method.world_model, method.agent, method.options) == ("dwm", "td3_bc", {})


def test_an_agent_alone_is_model_free_unless_it_plans() -> None:
    for name, cls in registry.plugins("agents").items():
        assert parse_method(name).world_model == ("dwm" if cls.plans else "none")  # type: ignore[attr-defined]


def test_no_two_methods_share_a_name() -> None:
    agents, models = registry.plugins("agents"), registry.plugins("world_models")
    known = known_methods()
    assert len(known) == len(agents) * (1 + len(models))
    assert all(known[plain(spelling(*method))] == method for method in known.values())


def test_listed_names_are_known_and_can_run() -> None:
    names = method_names()
    assert {"td3bc", "iql", "dwm-td3bc", "onestep-iql"} <= set(names)
    assert len(names) == len(set(names))
    for name in names:
        method = parse_method(name)
        profiles.run_config("laptop", method.world_model, method.agent)


def test_a_suffix_sets_axes_and_paths() -> None:
    method = parse_method("dwm-iql@horizon=3,target_rtg=0.7,filter=softmax,agent.target_clip=none")
    assert method.options == {"horizon": 3, "target_rtg": 0.7, "filter": "softmax", "agent.target_clip": "none"}
    assert path_of("horizon") == "synthesis.horizon"
    assert path_of("agent.target_clip") == "agent.target_clip"


@pytest.mark.parametrize(
    ("method", "message"),
    [
        ("dwm-td3cb", "unknown method 'dwm-td3cb'; did you mean dwm-td3bc"),
        ("dwm-td3bc@hrizon=3", "dwm-td3bc@hrizon=3: unknown option 'hrizon'; did you mean horizon"),
        ("dwm-td3bc@horizon", "'horizon' is not an option; expected NAME=VALUE"),
        ("dwm-td3bc@horizon=80", "synthesis.horizon: 80 is too long for world_model.sequence_length"),
        ("td3bc@world_model.dim=3", "world_model.dim: no such option with the chosen plug-ins"),
        ("recorded-td3bc@target_rtg=3", "synthesis.target_rtg: not used by this method"),
        ("dydiff-td3bc@target_rtg=0.9", "synthesis.target_rtg: not used by this method"),
        ("td3bc@horizon=3", "synthesis.horizon: not used by this method"),
        ("recorded-td3bc@filter=hardmax", "filter: not used by this method"),
        ("td3bc@training.num_updates=3", "training.num_updates is the same for all methods"),
        ("td3bc@data.file=x.hdf5", "data.file is the same for all methods"),
        ("td3bc@seed=3", "seed is the same for all methods"),
        ("TD3+BC", "td3bc TD3.BC: the same method"),
        ("td3bc@agent.return_lambda=1.0", "the same method"),
    ],
)
def test_methods_that_cannot_be_compared_are_refused(method: str, message: str) -> None:
    with pytest.raises(ValueError, match="^--methods.*" + message):
        entries("td3bc", method)


def test_one_method_is_no_comparison() -> None:
    with pytest.raises(ValueError, match="expected two methods or more"):
        entries("td3bc")


def test_every_method_runs_every_seed_and_differs_in_nothing_else() -> None:
    run = run_options(**{"training.num_updates": 777, "evaluation.num_episodes": 4, "seed": 9})
    result = entries("td3bc", "dwm-td3bc@horizon=3", "onestep-iql", run=run)
    assert [entry.name for entry in result] == ["TD3+BC", "DWM-TD3+BC (horizon=3)", "OneStep-IQL"]
    for entry in result:
        assert [trial.config.seed for trial in entry.trials] == [0, 1]
        for trial in entry.trials:
            assert trial.config.training.num_updates == 777
            assert (trial.config.evaluation, trial.config.data) == (run.evaluation, run.data)
    assert result[1].trials[0].values == {"horizon": 3, "seed": 0}
    assert result[1].trials[0].config.synthesis.horizon == 3
    assert result[2].trials[0].config.synthesis.horizon == 5, "the method's own default"


def test_updates_are_equal_even_where_a_method_asks_for_more(monkeypatch: pytest.MonkeyPatch) -> None:
    def greedy(run: RunConfig, *method: Any) -> RunConfig:
        return with_method(run, *method).with_values({"training.num_updates": 10**6, "evaluation.num_episodes": 99})

    with_method = profiles.with_method
    monkeypatch.setattr(profiles, "with_method", greedy)
    run = run_options()
    for entry in entries("td3bc", "iql", run=run):
        assert entry.trials[0].config.training.num_updates == run.training.num_updates
        assert entry.trials[0].config.evaluation == run.evaluation


def test_an_axis_takes_the_plugin_that_it_needs() -> None:
    config = entries("td3bc", "dwm-td3bc@keep_ratio=0.5")[1].trials[0].config
    assert (config.filter.plugin_name(), config.filter.keep_ratio) == ("hardmax", 0.5)  # type: ignore[attr-defined]


def test_recorded_futures_share_nothing_and_have_any_horizon() -> None:
    result = entries("td3bc", "recorded-td3bc@horizon=10", "Recorded-IQL@horizon=200,real_ratio=0.5")
    assert [entry.name for entry in result[1:]] == [
        "Recorded-TD3+BC (horizon=10)",
        "Recorded-IQL (horizon=200, real_ratio=0.5)",
    ]
    described = describe_entries(result, DataIdentity("", 1.0, 100))
    assert [(method["world_model"], method["stream"]) for method in described] == [(None, None)] * 3


def test_trials_that_others_wait_for_come_first() -> None:
    result = entries("td3bc", "iql", "dwm-td3bc", "dwm-iql")
    order = trials_of(result)
    assert order[0] == result[3].trials[0]  # trains the world model, and takes longer than the other that could
    assert sorted(trial.id for trial in order) == sorted(t.id for entry in result for t in entry.trials)


def test_methods_name_the_parts_that_they_share() -> None:
    free, three, five, one_step, plans = describe_entries(
        entries("td3bc", "dwm-td3bc@horizon=3", "dwm-iql", "onestep-iql", "dwm-td3bc@target_rtg=0.9"), DATA
    )
    assert (free["world_model"], free["stream"]) == (None, None)
    assert three["world_model"] == five["world_model"] == plans["world_model"] != one_step["world_model"]
    assert three["stream"] == five["stream"] != plans["stream"]
    assert one_step["stream"] is None
    trial = entries("td3bc", "onestep-iql")[1].trials[0]
    assert one_step["world_model"] == model_fingerprint(trial.config, DATA)
    assert one_step["trials"][0] == trial.id


@pytest.fixture
def pipeline() -> ModuleType:
    return load_program("pipelines/compare.py")


def execute(pipeline: ModuleType, root: Path, population: int) -> None:
    """Run the trials of one task's run folder in this process."""
    console = pipeline.Console()
    pipeline.execute(
        console, pipeline.session.reopen(console, str(root), root.parent, "comparison"), Clock(), population, False
    )


@pytest.mark.parametrize("stored", [False, True])
def test_a_finished_comparison_is_shown_again_without_a_cluster(
    pipeline: ModuleType,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    stored: bool,
) -> None:
    """Two tasks have a run folder each; finished trials are known by status. Another machine needs only the address."""

    def stop(*args: Any) -> None:
        raise AssertionError("a cluster was started")

    def apart(root: Path, population: int) -> None:
        for about in json.loads((root / "methods.json").read_text()):
            for seed, trial in enumerate(about["trials"]):
                folder = root / "trials" / trial
                folder.mkdir(parents=True)
                row = {"update": 30, "score_mean": 5.0 + seed, "score_std": 1.0, "final": True, "returns": [1.0, 2.0]}
                (folder / "evaluations.jsonl").write_text(json.dumps(row) + "\n")
                set_status(folder, "done", updates=30, seconds=1.0)
                config = {"world_model": None, "agent": {"name": "iql"}, "seed": seed, "training": {"batch_size": 4}}
                (folder / "config.json").write_text(json.dumps(config))
        RunFolder.of_path(root).push(root / "trials")
        execute(pipeline, root, population)

    monkeypatch.setattr(pipeline, "executor", stop)
    monkeypatch.setattr(pipeline, "execute_in_subprocess", apart)
    file = recording(tmp_path / "pendulum.hdf5")
    words = f"--profile laptop --methods td3bc iql --seeds 2 --updates 30 --tasks a={file} b={file}"
    kept = ["--storage", str(tmp_path / "kept")] if stored else []
    assert pipeline.main([*words.split(), "--output", str(tmp_path / "runs"), *kept]) == 0
    root = Path(capsys.readouterr().out.strip().splitlines()[-1])
    comparison = json.loads((root / "comparison.json").read_text())
    assert [task["task"] for task in comparison["tasks"]] == ["a", "b"]
    assert comparison["all_tasks"][1]["improvement"]["value"] == 0.5
    monkeypatch.setattr(pipeline, "execute_in_subprocess", partial(execute, pipeline))
    where = RunFolder.of_path(root).address
    assert ("://" in where) == stored
    if stored:
        shutil.rmtree(root)
    assert pipeline.main(["--resume", where, "--output", str(tmp_path / "runs"), "--markdown"]) == 0
    out = capsys.readouterr().out
    assert "| IQL | 2 | 5.5 | 5.5 | [5.0, 6.0] | 0.50 |" in out
    assert out.strip().splitlines()[-1] == str(root)
    if stored:
        kept_there = json.loads((tmp_path / "kept" / root.name / "comparison.json").read_text())
        assert kept_there["all_tasks"] == comparison["all_tasks"]


def test_a_comparison_whose_defaults_have_changed_is_not_mixed(
    pipeline: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = recording(tmp_path / "pendulum.hdf5")
    own = pipeline.Command(methods=("td3bc", "iql"), seeds=1, output=tmp_path)
    root, _ = pipeline.begin(
        pipeline.Console(), own, run_options(task="pendulum", **{"data.file": str(file)}), "laptop", []
    )
    methods = json.loads((root / "methods.json").read_text())
    methods[0]["trials"] = ["other"]
    (root / "methods.json").write_text(json.dumps(methods))
    assert pipeline.main(["--resume", str(root)]) == 2
    assert "expected a new comparison" in capsys.readouterr().err


def test_one_file_is_not_the_data_of_several_tasks(pipeline: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    assert pipeline.main(["--tasks", "a", "b", "--data", "x.hdf5"]) == 2
    assert "expected --tasks TASK=FILE" in capsys.readouterr().err


def test_help_lists_all_methods(pipeline: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        pipeline.main(["--help"])
    text = capsys.readouterr().out
    assert "onestep-iql" in text
    assert "dwm-td3bc" in text

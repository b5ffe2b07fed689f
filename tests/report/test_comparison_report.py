"""A comparison's tables, figures and page, from folders as `pipelines/compare.py` leaves them."""

import json
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from rows import write_rows

from dwm_ray.report.collect import updates_per_s
from dwm_ray.report.comparison import METHODS, collect_comparison
from dwm_ray.report.comparison_report import (
    all_tables,
    comparison_figures,
    failures,
    markdown,
    render_comparison,
    style,
    task_tables,
    write_comparison,
)
from dwm_ray.runs.tensor_files import write_json

UPDATES = [5000, 10000, 15000, 20000]
NAMES = {
    "TD3+BC": (None, "td3_bc", 30.0),
    "DWM-TD3+BC": ("dwm", "td3_bc", 36.0),
    "OneStep-IQL": ("one_step", "iql", 39.0),
}
SEEDS = 3


def make_task(
    run: Path, task: str = "halfcheetah-medium-replay", env: str = "HalfCheetah-v5", offset: float = 0.0
) -> Path:
    """One task's run folder: three methods of three seeds; the last run of the last method has failed."""
    options = {"task": task, "training": {"num_updates": UPDATES[-1]}, "evaluation": {"num_episodes": 4}}
    write_json(run / "config.json", {"profile": "laptop", "run": options})
    data = {"source": "bundled SAC recording", "env_id": env, "transitions": 50_000, "episodes": 50}
    write_json(run / "data.json", {**data, "fingerprint": "0123456789abcdef", "return_max": 5000.0})
    write_json(run / "environment.json", {"python": "3.11.7", "cpus": 2, "gpus": []})
    write_json(run / "world_models" / "wm-dwm" / "status.json", {"seconds": 360.0, "updates": 8000})
    write_json(run / "streams" / "st-dwm" / "stream.json", {"seconds": 18.5, "rows": 1000, "world_model": "wm-dwm"})
    methods = []
    for name, (model, agent, level) in NAMES.items():
        trials = [f"{agent}-{model}-{seed}" for seed in range(SEEDS)]
        parts = {"world_model": model and f"wm-{model}", "stream": "st-dwm" if model == "dwm" else None}
        methods.append({"name": name, "spec": name.lower(), "trials": trials, **parts})
        for seed, trial in enumerate(trials):
            failed = name == "OneStep-IQL" and seed == SEEDS - 1
            make_trial(run / "trials" / trial, model, agent, seed, level + offset + seed, failed)
    write_json(run / METHODS, methods)
    return run


def make_trial(folder: Path, model: str | None, agent: str, seed: int, score: float, failed: bool) -> None:
    config = {"world_model": model and {"name": model}, "agent": {"name": agent}, "seed": seed}
    config["training"] = {"batch_size": 1024 if model == "one_step" else 256}
    write_json(folder / "config.json", {**config, "synthesis": {"horizon": 5, "target_rtg": 0.5}})
    write_json(folder / "values.json", {"seed": seed})
    state = {"status": "failed", "error": "diverged"} if failed else {"status": "done"}
    write_json(folder / "status.json", {**state, "updates": UPDATES[-1], "seconds": 100.0 + 10 * seed})
    marks = UPDATES[:1] if failed else UPDATES
    rows = [
        {"update": u, "score_mean": score * (1 - np.exp(-u / 4000)), "score_std": 1.0, "final": False} for u in marks
    ]
    final = {"update": UPDATES[-1], "score_mean": score, "score_std": 1.0, "final": True, "policy_ms": 0.5 + seed}
    rows += [] if failed else [{**final, "returns": [1.0 * seed, 2.0, 3.0, 4.0]}]
    write_rows(folder / "evaluations.jsonl", *rows)
    speeds = [(5000, 500.0), (20000, 250.0)]
    log = [{"update": u, "updates_per_s": rate, "max_rss_bytes": 4e8 + seed, "seconds": 1.0} for u, rate in speeds]
    write_rows(folder / "metrics.jsonl", *log)


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_task(tmp_path_factory.mktemp("one") / "run")


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("two")
    make_task(root / "a")
    make_task(root / "b", "hopper-medium-replay", "Hopper-v5", offset=-20.0)
    return root


def test_statistics_are_over_the_scores_of_finished_runs(one: Path) -> None:
    [task] = collect_comparison(one)["tasks"]
    free, dwm, iql = task["methods"]
    assert [run["score"] for run in iql["runs"]] == [39.0, 40.0, None]
    assert [method["num_runs"] for method in task["methods"]] == [3, 3, 2]
    assert (free["mean"]["value"], dwm["iqm"]["value"], iql["mean"]["value"]) == pytest.approx((31.0, 37.0, 39.5))
    assert 30.0 <= free["iqm"]["low"] < 31.0 < free["iqm"]["high"] <= 32.0
    assert free["improvement"] is None
    assert dwm["improvement"] == {"value": 1.0, "low": 1.0, "high": 1.0}


def test_raw_returns_of_every_run_are_kept(one: Path) -> None:
    method = collect_comparison(one)["tasks"][0]["methods"][1]
    assert [run["returns"] for run in method["runs"]] == [[float(seed), 2.0, 3.0, 4.0] for seed in range(3)]


def test_costs_golden(one: Path) -> None:
    free, dwm, iql = (method["costs"] for method in collect_comparison(one)["tasks"][0]["methods"])
    rate = 20000 / (5000 / 500 + 15000 / 250)
    shared = {"learner_s": 110.0, "updates_per_s": pytest.approx(rate), "policy_ms": 1.5, "max_rss_bytes": 4e8 + 2}
    assert free == {**shared, "world_model_s": None, "sampling_s": None}
    assert dwm == {**shared, "world_model_s": 360.0, "sampling_s": 18.5}
    assert iql["learner_s"] == 105.0  # the failed run does not count


def test_rows_that_each_run_draws_itself_cost_what_one_run_drew(tmp_path: Path) -> None:
    run = make_task(tmp_path)
    for seed in range(2):
        write_rows(run / "trials" / f"iql-one_step-{seed}" / "metrics.jsonl", {"update": 1, "generating_s": 4.0 + seed})
    assert collect_comparison(run)["tasks"][0]["methods"][2]["costs"]["sampling_s"] == 4.5


def test_a_log_without_rates_has_no_rate() -> None:
    assert updates_per_s([{"update": 100}]) is None
    assert updates_per_s([{"update": 100, "updates_per_s": 10.0}, {"update": 300}]) == pytest.approx(10.0)


def test_all_tasks_have_statistics_of_all_runs(two: Path) -> None:
    comparison = collect_comparison(two)
    assert [task["run"] for task in comparison["tasks"]] == ["a", "b"]
    free, dwm, iql = comparison["all_tasks"]
    assert (free["num_runs"], iql["num_runs"]) == (6, 4)
    assert (free["mean"]["value"], dwm["mean"]["value"]) == pytest.approx((21.0, 27.0))
    assert dwm["improvement"]["value"] == 1.0


def test_tasks_of_different_units_have_no_mean_together(tmp_path: Path) -> None:
    make_task(tmp_path / "a")
    make_task(tmp_path / "b", "pendulum", "Pendulum-v1")
    rows = collect_comparison(tmp_path)["all_tasks"]
    assert [row["iqm"] for row in rows] == [None] * 3
    assert rows[1]["improvement"]["value"] == 1.0
    render_comparison(collect_comparison(tmp_path))


def test_a_comparison_that_has_just_begun_has_pages_and_tables(tmp_path: Path) -> None:
    run = make_task(tmp_path)
    for path in sorted((run / "trials").rglob("*"), reverse=True):
        path.unlink() if path.is_file() else path.rmdir()
    comparison = write_comparison(run)
    assert len(failures(comparison)) == 9
    assert "TD3+BC, seed 0: pending" in failures(comparison)[0]
    assert comparison_figures(comparison) == []
    assert "No run has finished" in (run / "comparison.html").read_text()
    assert len(all_tables(comparison)) == 2


def test_folders_that_are_no_comparison_are_refused(tmp_path: Path, two: Path) -> None:
    with pytest.raises(ValueError, match="is not a comparison"):
        collect_comparison(tmp_path)
    make_task(tmp_path / "a")
    make_task(tmp_path / "b")
    write_json(tmp_path / "b" / METHODS, json.loads((tmp_path / "b" / METHODS).read_text())[:2])
    with pytest.raises(ValueError, match="different methods"):
        collect_comparison(tmp_path)


def test_tables_golden(one: Path) -> None:
    [task] = collect_comparison(one)["tasks"]
    scored, cost = (table.texts() for table in task_tables(task))
    assert [row[0] for row in scored] == ["OneStep-IQL", "DWM-TD3+BC", "TD3+BC"], "the best one first"
    assert scored[1][:4] == ["DWM-TD3+BC", "3", "37.0", "37.0"]
    assert scored[1][5:] == ["1.00", "[1.00, 1.00]"]
    assert scored[2][5:] == ["–", "–"]
    assert cost[1] == ["DWM-TD3+BC", "110 s", "286", "6 min", "18 s", "1.5", "400 MB"]


def test_markdown_tells_data_updates_seeds_checkpoint_and_what_failed(one: Path) -> None:
    text = markdown(collect_comparison(one))
    assert "profile laptop, 20\u202f000 updates of batches of 256 or 1024" in text
    for args in ("bundled SAC recording", "20\u202f000 updates", "3 seeds", "last checkpoint", "0123456789abcdef"):
        assert args in text
    assert "OneStep-IQL, seed 2: failed (diverged)" in text
    tables = [line.count("|") for line in text.splitlines() if line.startswith("|")]
    assert tables == [8] * 10


def test_page_is_wellformed_loads_nothing_and_shows_every_task(two: Path, check_page: Callable[[str], None]) -> None:
    comparison = write_comparison(two)
    text = (two / "comparison.html").read_text()
    check_page(text)
    assert text.count("<figure") == 2
    assert "hopper-medium-replay" in text
    assert json.loads((two / "comparison.json").read_text()) == comparison


def test_what_a_run_says_is_escaped(one: Path) -> None:
    comparison = collect_comparison(one)
    comparison["tasks"][0]["methods"][2]["runs"][2]["error"] = "<img src=x>"
    assert "<img" not in render_comparison(comparison)


def test_figures_are_wellformed_and_repeat_themselves(two: Path) -> None:
    comparison = collect_comparison(two)
    figures = comparison_figures(comparison)
    assert [figure.name for figure in figures] == ["ranking", "curves"]
    for figure in figures:
        assert all(ElementTree.fromstring(panel).get("role") == "img" for panel in figure.panels)
    assert figures == comparison_figures(comparison)


def test_two_dozen_methods_look_different() -> None:
    assert len({style(i) for i in range(24)}) == 24

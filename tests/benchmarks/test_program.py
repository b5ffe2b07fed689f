"""pipelines/benchmark.py from the command line."""

import importlib
import json
import shlex
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
QUICK = ["--task", "pendulum", "--repeats", "2", "--burst-s", "0.01", "--only", "td3_bc-auto"]


@pytest.fixture(autouse=True)
def working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(ROOT)


def program(*args: object) -> int:
    return importlib.import_module("pipelines.benchmark").main([str(word) for word in args])


def test_rates_and_ratios_go_to_a_table_and_a_file(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    peer = f"slow={sys.executable} -c 'print(2.0)'"
    assert program("learner", *QUICK, "--data", file, "--peer", peer) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(" | ")[0] for line in lines[:6]] == [
        "| workload", "| ---", "| td3_bc-fp32", "| td3_bc-auto", "| td3_bc-auto", "| slow",
    ]  # fmt: skip
    result = json.loads(Path(lines[-1]).read_text())
    assert Path(lines[-1]).parent == Path("runs/benchmark")
    assert {name: len(rates) for name, rates in result["rates"].items()} == {
        "td3_bc-fp32": 2, "td3_bc-auto": 2, "slow": 2,
    }  # fmt: skip
    assert [(row["of"], row["to"]) for row in result["ratios"]] == [
        ("td3_bc-auto", "td3_bc-fp32"), ("td3_bc-fp32", "slow"), ("td3_bc-auto", "slow"),
    ]  # fmt: skip
    assert result["machine"]["threads"] == 1
    assert result["options"]["batch_size"] == 256


def test_unsupported_workloads_are_listed(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from dwm_ray.benchmarks.suites import learner

    def no_compiler(*_: object) -> None:
        raise ValueError("execution.compiled: no compiler")

    usual = learner.learning
    monkeypatch.setattr(
        learner, "learning", lambda setup, run: (no_compiler if run.execution.compiled else usual)(setup, run)
    )
    args = [*QUICK[:-1], "td3_bc-compiled", "--compiled", "--populations", "--output", str(tmp_path / "out.json")]
    assert program("learner", *args, "--data", file) == 0
    assert "not measured: td3_bc-compiled (execution.compiled: no compiler)" in capsys.readouterr().out
    result = json.loads((tmp_path / "out.json").read_text())
    assert list(result["skipped"]) == ["td3_bc-compiled"]
    assert list(result["rates"]) == ["td3_bc-auto"]


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ("learner --only nothing", "--only 'nothing': no such workload; expected part of td3_bc-fp32"),
        ("learner --agents td3", "unknown agent 'td3'"),
        ("learner --peer corl", "--peer 'corl': expected NAME=COMMAND"),
        ("learner --repeats 0", "--repeats"),
        ("load --samplers 0", "--samplers: expected a positive number, not 0"),
        ("load --streams 65", "--streams: expected no more than --readers"),
        ("load --block-s -1", "--block-s and --warmup-s: expected 0 or more"),
        ("gpu --device cpu", "--device cpu: the suite gpu measures a GPU"),
        ("scaling --samplers 1 0", "--samplers and --repeats: expected positive numbers"),
        ("scaling --repeats 0", "--samplers and --repeats: expected positive numbers"),
        ("scaling --samplers 1 1", "--samplers 1 1: expected different numbers"),
        ("large_data --repeats 0", "--repeats: expected a positive number"),
    ],
)
def test_bad_input_is_one_line_and_code_2(
    words: str, text: str, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    suite, *options = words.split()
    quick = [*QUICK, "--data", file] if suite == "learner" else []
    assert program(suite, *quick, *options) == 2
    assert text in capsys.readouterr().err


def test_a_peer_that_fails_ends_it_with_code_1(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert program("learner", *QUICK, "--data", file, "--peer", "gone=/not/there") == 1
    assert "failed: --peer gone" in capsys.readouterr().err


def test_a_missing_gpu_is_refused(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    for args in (["learner", "--device", "cuda"], ["gpu"]):
        assert program(*args) == 2
        assert "--device cuda: torch sees no GPU here" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("suite", "option"),
    [
        ("learner", "--peer"),
        ("sampler", "--graphed"),
        ("world_model", "--clock"),
        ("replay", "--real-ratios"),
        ("gpu", "--budget-s"),
        ("sweep", "--sweep-options"),
        ("scaling", "--repeats"),
        ("load", "--readers"),
        ("large_data", "--fitting-rows"),
        ("faults", "--updates"),
    ],
)
def test_every_suite_has_help(suite: str, option: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        program(suite, "--help")
    assert option in capsys.readouterr().out


COMMANDS = [
    shlex.split(line, comments=True)[2:]
    for line in (ROOT / "docs" / "benchmarks.md").read_text().splitlines()
    if line.startswith("python pipelines/benchmark.py")
]


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_documented_commands_parse(words: list[str]) -> None:
    assert importlib.import_module("pipelines.benchmark").parse(words).name == words[0]


def test_a_row_of_the_load_has_rates_and_quantiles() -> None:
    from dwm_ray.benchmarks.suites.load import HEADERS, cells

    window = {
        "seconds": 2.0, "accepted": 100, "delivered": 300, "cpu_s": [0.5, 1.5], "rss_bytes": [1e6, 2e6],
        "delays": [0.001, 0.003],
    }  # fmt: skip
    row = cells(2, window)
    assert len(row) == len(HEADERS)
    assert row == [2, "50", "150", "0.25, 0.75", "50", "2, 2.98", "1, 2"]
    assert cells(2, {**window, "delays": []})[5] == "–"


def test_faults_and_sweeps_refuse_a_foreign_cluster(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:6379")
    for suite, purpose in (("faults", "faults"), ("sweep", "the sweep")):
        assert program(suite) == 2
        assert f"RAY_ADDRESS: {purpose} needs its own cluster" in capsys.readouterr().err

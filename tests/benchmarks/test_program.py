"""pipelines/benchmark.py from the command line."""

import importlib
import json
import shlex
import sys
from pathlib import Path

import pytest
from tiny_task import recording

ROOT = Path(__file__).parents[2]
QUICK = ["--task", "pendulum", "--repeats", "2", "--burst-s", "0.01", "--only", "td3_bc-auto"]


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(recording(tmp_path_factory.mktemp("data") / "pendulum.hdf5"))


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(ROOT)


def program(*words: str) -> int:
    return importlib.import_module("pipelines.benchmark").main(list(words))


def test_rates_and_ratios_go_to_a_table_and_a_file(file: str, capsys: pytest.CaptureFixture[str]) -> None:
    peer = f"slow={sys.executable} -c 'print(2.0)'"
    assert program("learner", *QUICK, "--data", file, "--peer", peer, "--markdown") == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(" | ")[0] for line in lines[:6]] == [
        "| what", "| ---", "| td3_bc-fp32", "| td3_bc-auto", "| td3_bc-auto", "| slow",
    ]  # fmt: skip
    found = json.loads(Path(lines[-1]).read_text())
    assert Path(lines[-1]).parent == Path("runs/benchmark")
    assert {name: len(rates) for name, rates in found["rates"].items()} == {
        "td3_bc-fp32": 2, "td3_bc-auto": 2, "slow": 2,
    }  # fmt: skip
    assert [(row["of"], row["to"]) for row in found["ratios"]] == [
        ("td3_bc-auto", "td3_bc-fp32"), ("td3_bc-fp32", "slow"), ("td3_bc-auto", "slow"),
    ]  # fmt: skip
    assert found["machine"]["threads"] == 1
    assert found["options"]["batch_size"] == 256


def test_what_a_machine_cannot_do_is_said(
    file: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from dwm_ray.benchmarks.suites import learner

    def no_compiler(*_: object) -> None:
        raise ValueError("execution.compiled: no compiler")

    for made in ("trained", "trained_population"):
        monkeypatch.setattr(learner, made, no_compiler)
    words = [*QUICK[:-1], "td3_bc-compiled", "--compiled", "--populations", "2", "--output", str(tmp_path / "out.json")]
    assert program("learner", *words, "--data", file) == 0
    assert "not measured: td3_bc-compiled (execution.compiled: no compiler)" in capsys.readouterr().out
    found = json.loads((tmp_path / "out.json").read_text())
    assert list(found["skipped"]) == ["td3_bc-compiled", "td3_bc-compiled-population-2"]
    assert [ratio["of"] for ratio in found["ratios"]] == ["td3_bc-population-2"]


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["--only", "nothing"], "--only 'nothing': none of td3_bc-fp32"),
        (["--agents", "td3"], "unknown agent 'td3'"),
        (["--peer", "corl"], "--peer 'corl': expected NAME=COMMAND"),
        (["--repeats", "0"], "--repeats"),
        (["--clock", "cpu", "--threads", "2"], "--clock cpu"),
    ],
)
def test_bad_input_is_one_line_and_code_2(
    words: list[str], text: str, file: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert program("learner", *QUICK, "--data", file, *words) == 2
    assert text in capsys.readouterr().err


def test_a_peer_that_fails_ends_it_with_code_1(file: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert program("learner", *QUICK, "--data", file, "--peer", "gone=/not/there") == 1
    assert "failed: --peer gone" in capsys.readouterr().err


def test_a_gpu_that_is_not_there_is_refused(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert program("learner", "--device", "cuda") == 2
    assert "--device cuda: torch sees no GPU here" in capsys.readouterr().err


@pytest.mark.parametrize("suite", ["learner", "sampler", "world_model", "whole", "sweep", "scaling"])
def test_every_suite_has_help(suite: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        program(suite, "--help")
    shown = capsys.readouterr().out
    assert "--peer" in shown
    assert "--repeats" in shown


COMMANDS = [
    shlex.split(line, comments=True)[2:]
    for line in (ROOT / "docs" / "benchmarks.md").read_text().splitlines()
    if line.startswith("python pipelines/benchmark.py")
]


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_documented_commands_parse(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert program(*words, "--device", "cpu", "--repeats", "0") == 2  # the first thing that is checked
    assert "--repeats" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["--repeats", "3"], "--repeats: has no meaning for the load on the buffer"),
        (["--samplers", "0"], "--samplers: expected a positive number, not 0"),
        (["--streams", "65"], "--streams and --processes: expected no more"),
        (["--draw-s", "-1"], "--draw-s and --warmup-s: expected 0 or more"),
    ],
)
def test_a_load_that_cannot_be_made_is_refused_before_ray_starts(
    words: list[str], text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert program("load", *words) == 2
    assert text in capsys.readouterr().err


def test_a_row_of_the_load_tells_rates_and_quantiles() -> None:
    from dwm_ray.benchmarks.cluster_load import HEADERS, cells

    window = {
        "seconds": 2.0, "accepted": 100, "delivered": 300, "cpu_s": [0.5, 1.5], "rss_bytes": [1e6, 2e6],
        "delays": {"fetch": [0.001, 0.003], "delivery": []},
    }  # fmt: skip
    row = cells("2 of the buffer", 0.5, window)
    assert len(row) == len(HEADERS)
    assert row[:6] == ["2 of the buffer", "0.5", "50", "150", "0.25, 0.75", "50"]
    assert row[6].startswith("2, 2.9")
    assert row[7:] == ["–", "–", "1, 2"]


def test_faults_refuse_options_of_rates_and_a_cluster_of_others(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert program("faults", "--repeats", "3") == 2
    assert "--repeats: says how rates are timed" in capsys.readouterr().err
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:6379")
    assert program("faults") == 2
    assert "RAY_ADDRESS" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["sweep", "--clock", "cpu"], "--clock: has no meaning for a sweep"),
        (["sweep", "--updates", "0"], "--updates: expected at least 1, not 0"),
        (["sweep", "--alone", "-1"], "--alone: expected 0 or more trials, not -1"),
        (["scaling", "--threads", "2"], "--threads: has no meaning for samplers"),
        (["scaling", "--samplers", "1", "0"], "--samplers: expected positive numbers"),
    ],
)
def test_a_sweep_or_samplers_that_cannot_be_measured_are_refused_before_ray_starts(
    words: list[str], text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert program(*words) == 2
    assert text in capsys.readouterr().err


def test_a_sweep_is_not_measured_on_a_cluster_of_others(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:6379")
    assert program("sweep") == 2
    assert "RAY_ADDRESS: the sweep needs a cluster of its own" in capsys.readouterr().err

"""`pipelines/study.py`, as a user runs it."""

import json
from pathlib import Path

import pytest

from pipelines.study import main

TINY = ["--task", "pendulum", "--profile", "laptop", "--model-updates", "5", "--world-model.dim", "8"]
TINY += ["--world-model.multipliers", "2", "--synthesis.num-segments", "100", "--training.num-updates", "10"]


def test_a_study_writes_a_folder_and_finds_its_model_again(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    argv = ["shift", *TINY, "--data", str(file), "--output", str(tmp_path), "--world-models", "dwm"]
    argv += ["--num-points", "30", "--clone-updates", "5", "--target-rtgs", "0.5", "--temperatures", "1.0"]
    assert main(argv) == 0
    assert "training, 5 updates" in capsys.readouterr().out
    assert main([*argv, "--markdown"]) == 0
    printed = capsys.readouterr().out
    assert "found in" in printed
    assert "| data | states | state-actions | rewards |" in printed
    folders = sorted(tmp_path.glob("shift-pendulum-*"))
    assert len(folders) == 2
    record = json.loads((folders[0] / "study.json").read_text())
    assert (record["study"], record["profile"], record["data"]["env_id"]) == ("shift", "laptop", "Pendulum-v1")
    assert record["options"]["num_points"] == 30
    assert (folders[0] / "report.html").is_file()
    assert len(list(tmp_path.glob("world_models/*/status.json"))) == 1


def test_help_lists_the_studies(capsys: pytest.CaptureFixture) -> None:
    assert main(["--help"]) == 0
    printed = capsys.readouterr().out
    assert all(f"  {name}: " in printed for name in ("cost", "model_error", "sensitivity", "shift"))


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["shfit"], "unknown study 'shfit'; did you mean shift"),
        (["shift", "--world-models", "dwmm"], "unknown world model 'dwmm'; did you mean dwm"),
        (["shift", "--num-points", "0"], "num_points"),
        (["cost", "--run", "/nowhere"], "not a run folder"),
        (["cost", "--task", "half"], "half"),
    ],
)
def test_bad_input_is_one_line_and_code_2(
    argv: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    assert main([*argv, "--profile", "laptop", "--output", str(tmp_path)] if len(argv) > 1 else argv) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert message in error
    assert error.count("\n") == 1
    assert not list(tmp_path.glob("*-20*"))  # no study folder


def test_no_name_shows_the_help_and_fails(capsys: pytest.CaptureFixture) -> None:
    assert main([]) == 2
    assert "Studies:" in capsys.readouterr().out

"""`pipelines/watch.py`: one view, failures, and an end with the right code."""

import os
import time
from pathlib import Path
from types import ModuleType

import pytest
from programs import load_program
from rich.console import Console
from rich.progress import Progress
from rows import write_rows

from dwm_ray.cli.progress import Bars
from dwm_ray.runs.folder import RunFolder, set_status
from dwm_ray.runs.tensor_files import write_json

RUN = {"task": "hopper-medium", "seed": 3, "world_model": {"name": "dwm", "num_updates": 400}, "agent": {"name": "iql"}}
RUN = {**RUN, "training": {"num_updates": 1000}}


@pytest.fixture(scope="module")
def program() -> ModuleType:
    return load_program("pipelines/watch.py")


@pytest.fixture(autouse=True)
def wide(program: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(program, "Console", lambda: Console(width=160, height=40))


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    folder = RunFolder(tmp_path)
    write_json(folder.config, {"profile": "laptop", "run": RUN})
    statuses = {"busy1": ("running", {}), "bad1": ("failed", {"error": "CUDA out of memory"}), "good1": ("done", {})}
    for name, (status, more) in statuses.items():
        write_json(folder.trial(name) / "config.json", RUN)
        write_json(folder.trial(name) / "values.json", {"horizon": 5, "seed": 3})
        set_status(folder.trial(name), status, **more)
    row = {"q_mean": 12.345, "seconds": 10.0, "updates_per_s": 99.6, "staleness": 2, "learner_busy_fraction": 0.9}
    write_rows(folder.trial("busy1") / "metrics.jsonl", {"update": 250, **row})
    write_rows(folder.trial("busy1") / "evaluations.jsonl", {"update": 250, "score_mean": 31.44})
    write_rows(folder.trial("bad1") / "metrics.jsonl", *({"update": u, "q_mean": 10.0**u} for u in range(1, 9)))
    row = {"update": 100, "loss": 0.5, "holdout_loss": 0.25, "seconds": 4}
    write_rows(folder.world_model("abcdef") / "metrics.jsonl", row)
    stream = {"rows": 4000, "blocks": 4, "seconds": 2.0}
    write_json(tmp_path / "streams" / "s1" / "stream.json", stream)
    write_json(folder.counters, {"segments_sampled": 4000})
    return folder


def row_of(out: str, name: str) -> list[str]:
    return next(line.split() for line in out.splitlines() if line.split()[:1] == [name])


def test_one_view_shows_all_parts(program: ModuleType, run: RunFolder, capsys: pytest.CaptureFixture[str]) -> None:
    assert program.main([str(run.root), "--once"]) == 0
    out = capsys.readouterr().out
    assert "3 trials: 1 running, 1 failed, 1 done; last change" in out
    assert "left; 2 of 3 trials finished (1 failed)" in out
    shown = [
        "busy1",
        "DWM-IQL",
        "horizon=5",
        "seed=3",
        "running",
        "250",
        "25%",
        "30",
        "s",
        "100",
        "31.4",
        "12.35",
        "2",
        "10%",
    ]
    assert row_of(out, "busy1") == shown
    assert "bad1 failed: CUDA out of memory" in out
    assert row_of(out, "abcdef") == ["abcdef", "–", "training", "100", "25%", "12", "s", "25", "0.5", "0.25"]
    assert row_of(out, "s1")[2:] == ["complete", "4", "100%", "–", "4", "000", "2000"]
    assert "segments sampled 4\u202f000" in out


def test_the_last_failure_fits_a_screen(
    program: ModuleType, run: RunFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    set_status(run.trial("bad0"), "failed", error="another cause")
    os.utime(run.trial("bad0") / "status.json", (100.0, 100.0))
    (run.trial("bad1") / "failure.txt").write_text("\n".join(f"frame {i}" for i in range(100)))
    assert program.main([str(run.root), "--failed"]) == 0
    out = capsys.readouterr().out
    assert "DWM-IQL horizon=5 seed=3: failed after 8 updates" in out
    assert "CUDA out of memory" in out
    assert row_of(out, "update") == ["update", "4", "5", "6", "7", "8"]
    assert row_of(out, "q_mean")[-1] == "1e+08"
    assert "frame 99" in out
    assert "also failed: bad0: another cause" in out
    assert len(out.splitlines()) <= 40
    assert program.main([str(run.root), "--trial", "bad0"]) == 0
    out = capsys.readouterr().out
    assert "another cause" in out
    assert "failed before its first row" in out


def test_bad_input_is_one_line_and_code_2(
    program: ModuleType, run: RunFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for argv in ([str(tmp_path / "absent")], [str(run.root), "--trial", "x"], [str(run.root), "--every-s", "0"]):
        assert program.main(argv) == 2
        assert capsys.readouterr().err.count("\n") == 1


def test_no_failure_is_no_error(program: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_json(tmp_path / "config.json", {"run": RUN})
    assert program.main([str(tmp_path), "--failed"]) == 0
    assert "no trial of this run has failed" in capsys.readouterr().out
    assert program.main([str(tmp_path), "--once"]) == 0
    assert "0 trials: none yet" in capsys.readouterr().out


def test_a_view_shows_the_phases_and_times_of_the_program_itself(
    program: ModuleType, run: RunFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    write_json(run.sweep, {"num_trials": 9})
    assert program.main([str(run.root), "--once"]) == 0
    out, state = capsys.readouterr().out, program.read_state(run)
    bars = Progress()
    Bars(bars, 9).show(state)
    assert bars.tasks[0].fields["note"] in out, "remaining time of all nine trials"
    assert "2 of 9 trials finished" in out
    for task in bars.tasks[1:]:
        [row] = [line for line in out.splitlines() if line.startswith(task.description)]
        assert f" {task.percentage:.0f} %" in row
        assert task.fields["note"] in row


def test_watching_ends_with_the_run(
    program: ModuleType, run: RunFolder, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    naps = []

    def finish(seconds: float) -> None:
        naps.append(seconds)
        set_status(run.trial("busy1"), "done")
        write_json(run.sweep, {"wall_s": 1.0})

    monkeypatch.setattr(program.time, "sleep", finish)
    assert program.main([str(run.root), "--every-s", "7"]) == 0
    out = capsys.readouterr().out
    assert naps == [7.0]
    assert "2 of 3 trials finished (1 failed); world model abcdef 25 % (12 s left, 25 updates/s)" in out
    assert "3 trials: 1 failed, 2 done; results are written" in out


def test_a_run_that_ends_without_results_is_code_1(
    program: ModuleType, run: RunFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    set_status(run.trial("busy1"), "failed", error="boom")
    long_ago = time.time() - 2 * program.QUIET_S
    for path in [*run.root.rglob("*")]:
        os.utime(path, (long_ago, long_ago))
    assert program.main([str(run.root)]) == 1
    assert "the run ended without results" in capsys.readouterr().out


def test_a_screen_shows_those_at_work_first_and_counts_the_rest(
    program: ModuleType, run: RunFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(60):
        write_json(run.trial(f"wait{number:02d}") / "config.json", RUN)
    state = program.read_state(run)
    Console(width=160, height=30).print(program.overview(run, state, 30))
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) <= 30
    assert [line.split()[0] for line in lines[4:7]] == ["world", "stream", "DWM-IQL"]
    assert [line.split()[0] for line in lines[8:11]] == ["busy1", "bad1", "good1"]
    assert any("more trials (--once shows all)" in line for line in lines)

"""The progress display shows what the run folder holds."""

from pathlib import Path

import pytest
from rich.console import Console
from rich.progress import Progress
from rows import write_rows

from dwm_ray.cli.progress import MAX_SHOWN, _Bars, line
from dwm_ray.experiment.run_state import read_state
from dwm_ray.runs.folder import RunFolder, set_status
from dwm_ray.runs.tensor_files import write_json


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    run = RunFolder(tmp_path)
    write_json(run.config, {"run": {"world_model": {"num_updates": 400}, "training": {"num_updates": 1000}}})
    set_status(run.trial("done1"), "done")
    set_status(run.trial("bad1"), "failed", error="boom")
    set_status(run.trial("busy1"), "running")
    row = {"update": 250, "q_mean": 3.5, "updates_per_s": 99.6, "seconds": 50.0}
    write_rows(run.trial("busy1") / "metrics.jsonl", row)
    row = {"update": 100, "holdout_loss": 0.25, "seconds": 40.0}
    write_rows(run.world_model("abcdef1234567890") / "metrics.jsonl", row)
    return run


def test_a_line_shows_the_whole_run_and_its_running_phases(run: RunFolder) -> None:
    # World model: 160 s, a quarter done. Trials: 200 s each, two of five over, one at a quarter. So 670 of 1160 s are
    # left, for two processes.
    assert line(read_state(run), 5, 3.0) == (
        "[    3 s] 42 %, 6 min left; 2 of 5 trials finished (1 failed); "
        "world model abcdef1234 25 % (2 min left, holdout_loss 0.25); "
        "trial busy1 25 % (2 min left, q_mean 3.5, 100 updates/s)"
    )


def test_a_trained_world_model_is_no_running_phase(run: RunFolder) -> None:
    set_status(run.world_model("abcdef1234567890"), "trained")
    assert "world model" not in line(read_state(run), 5, 3.0)


def test_a_few_of_many_running_trials_are_named(run: RunFolder) -> None:
    for number in range(9):
        set_status(run.trial(f"member{number}"), "running")
    shown = line(read_state(run), 12, 3.0)
    assert shown.count("trial ") == MAX_SHOWN - 1, "and the world model"
    assert shown.endswith("; and 5 more")


def test_bars_appear_and_disappear_with_their_phases(run: RunFolder) -> None:
    progress = Progress(console=Console(quiet=True))
    bars = _Bars(progress, 5)
    bars.show(read_state(run))
    assert [(task.description, round(task.completed, 2)) for task in progress.tasks] == [
        ("all", 0.42),
        ("world model abcdef1234", 0.25),
        ("trial busy1", 0.25),
    ]
    set_status(run.world_model("abcdef1234567890"), "trained")
    bars.show(read_state(run))
    assert [task.description for task in progress.tasks] == ["all", "trial busy1"]

"""The progress display shows what the run folder holds."""

from pathlib import Path

import pytest
from rich.console import Console
from rich.progress import Progress
from rows import write_rows

from dwm_ray.cli.progress import MAX_SHOWN, Bars, Failures, line
from dwm_ray.experiment.run_state import read_state
from dwm_ray.runs.folder import RunFolder, set_status
from dwm_ray.runs.tensor_files import write_json


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    run = RunFolder(tmp_path)
    write_json(run.config, {"run": {"world_model": {"num_updates": 400}, "training": {"num_updates": 1000}}})
    write_json(run.sweep, {"processes": 2})
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
    # left. Two processes end after 120 and 150 s, then each runs a trial of 200 s.
    assert line(read_state(run), 5, 3.0) == (
        "[    3 s] 42 %, 6 min left; 2 of 5 trials finished (1 failed); "
        "world model abcdef1234 25 % (2 min left, 2 updates/s); "
        "busy1 25 % (2 min left, 100 updates/s)"
    )


def test_a_trained_world_model_is_no_running_phase(run: RunFolder) -> None:
    set_status(run.world_model("abcdef1234567890"), "trained")
    assert "world model" not in line(read_state(run), 5, 3.0)


def test_trials_of_a_method_are_one_group(run: RunFolder) -> None:
    options = {"agent": {"name": "iql"}, "world_model": {"name": "dwm"}, "training": {"num_updates": 1000}}
    for name, update, score in (("a", 200, 10.0), ("b", 400, 20.0)):
        write_json(run.trial(name) / "config.json", options)
        set_status(run.trial(name), "running")
        row = {"update": update, "num_members": 2, "updates_per_s": 80.0, "seconds": 10.0}
        write_rows(run.trial(name) / "metrics.jsonl", row)
        write_rows(run.trial(name) / "evaluations.jsonl", {"score_mean": score})
    assert "; DWM-IQL x 2 30 % (80 s left, 80 updates/s, score 15.0); " in line(read_state(run), 5, 3.0)


def test_some_of_many_running_groups_are_named(run: RunFolder) -> None:
    for number in range(14):
        set_status(run.trial(f"member{number:02}"), "running")
    shown = line(read_state(run), 17, 3.0)
    assert shown.count("member") == MAX_SHOWN - 2, "besides the world model and a trial"
    assert shown.endswith("; and 4 more")


def test_bars_show_all_groups_with_their_progress(run: RunFolder) -> None:
    progress = Progress(console=Console(quiet=True))
    bars = Bars(progress, 5)
    bars.show(read_state(run))
    shown = {task.description: round(task.completed, 2) for task in progress.tasks}
    assert shown == {"all": 0.42, "world model abcdef1234": 0.25, "bad1": 1.0, "busy1": 0.25, "done1": 1.0}
    set_status(run.world_model("abcdef1234567890"), "trained")
    set_status(run.trial("busy1"), "done")
    bars.show(read_state(run))
    assert {round(task.completed, 2) for task in progress.tasks} == {0.64, 1.0}, (
        "two trials and the report have not started"
    )


def test_a_failure_is_printed_once_and_not_again_after_a_resume(run: RunFolder) -> None:
    console = Console(record=True, width=200)
    failures = Failures(console)
    failures.show(read_state(run))
    assert console.export_text() == ""
    set_status(run.trial("busy1"), "failed", error="ValueError: [red] rewards")
    failures.show(read_state(run))
    failures.show(read_state(run))
    assert console.export_text() == "trial busy1 failed: ValueError: [red] rewards\n"

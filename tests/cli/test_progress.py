"""The progress display tells from the run folder alone what is going on."""

import json

from dwm_ray.cli.progress import MOST_SHOWN, line
from dwm_ray.experiment.run_state import look
from dwm_ray.runs.folder import RunFolder, set_status
from dwm_ray.runs.tensor_files import write_json


def make_run(tmp_path):
    run = RunFolder(tmp_path)
    write_json(run.config, {"run": {"world_model": {"num_updates": 400}, "training": {"num_updates": 1000}}})
    set_status(run.trial("done1"), "done")
    set_status(run.trial("bad1"), "failed", error="boom")
    set_status(run.trial("busy1"), "running")
    for folder, row in (
        (run.trial("busy1"), {"update": 250, "q_mean": 3.5, "updates_per_s": 99.6}),
        (run.world_model("abcdef1234567890"), {"update": 100, "holdout_loss": 0.25}),
    ):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "metrics.jsonl").write_text(json.dumps(row) + "\n")
    return run


def test_line_counts_trials_and_shows_shares(tmp_path):
    told = line(look(make_run(tmp_path)), 5, 3.0)
    assert "[    3 s] 2 of 5 trials finished (1 failed)" in told
    assert "world model abcdef12 25 % (holdout_loss 0.25)" in told
    assert "trial busy1 25 % (q_mean 3.5, 100 updates/s)" in told


def test_a_whole_model_is_no_activity(tmp_path):
    run = make_run(tmp_path)
    set_status(run.world_model("abcdef1234567890"), "trained")
    assert "world model" not in line(look(run), 5, 3.0)


def test_of_many_trials_at_once_a_few_are_named(tmp_path):
    run = make_run(tmp_path)
    for number in range(9):
        set_status(run.trial(f"member{number}"), "running")
    told = line(look(run), 12, 3.0)
    assert told.count("trial ") == MOST_SHOWN - 1, "and the world model"
    assert told.endswith("; and 5 more")

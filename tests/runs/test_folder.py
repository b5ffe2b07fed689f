"""Layout of run folders."""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from dwm_ray.runs.folder import RunFolder, read_json, set_status, status_of
from dwm_ray.runs.tensor_files import write_json
from dwm_ray.training.fit import is_trained


def test_runs_of_one_second_get_different_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "strftime", lambda layout: "20250101-120000")
    roots = [RunFolder.create(tmp_path / "runs", "hopper-medium").root.name for _ in range(3)]
    start = "hopper-medium-20250101-120000"
    assert roots == [start, f"{start}-2", f"{start}-3"]


def test_two_programs_may_create_runs_at_the_same_moment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder that another program creates between the check and the creation is no error."""
    monkeypatch.setattr(time, "strftime", lambda layout: "20250101-120000")
    with ThreadPoolExecutor(8) as pool:
        roots = list(pool.map(lambda _: RunFolder.create(tmp_path / "runs", "task").root, range(64)))
    assert len(set(roots)) == 64


def test_a_run_is_discarded_only_before_its_work_has_begun(tmp_path: Path) -> None:
    run = RunFolder.create(tmp_path, "task")
    write_json(run.trial("a") / "config.json", {})
    assert not run.has_begun
    set_status(run.trial("a"), "running")
    assert run.has_begun
    assert RunFolder(tmp_path).has_begun, "the folder of a comparison of several tasks"
    run.discard()
    assert list(tmp_path.iterdir()) == []


def test_names_of_minari_tasks_are_one_folder(tmp_path: Path) -> None:
    root = RunFolder.create(tmp_path, "minari:mujoco/hopper/medium-v0").root
    assert root.parent == tmp_path
    assert root.name.startswith("minari-mujoco-hopper-medium-v0-")


def test_a_parent_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match=r"--output .*file: cannot create a run folder there"):
        RunFolder.create(tmp_path / "file", "task")


def test_only_a_folder_with_a_config_is_a_run(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="is not a run folder"):
        RunFolder.open(tmp_path)
    with pytest.raises(ValueError, match="is not a run folder"):
        RunFolder.open(tmp_path / "absent")
    write_json(tmp_path / "config.json", {})
    assert RunFolder.open(tmp_path).root == tmp_path.resolve()


def test_paths_of_all_parts_differ_and_lie_in_the_folder(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    paths = [run.config, run.counters, run.sweep, run.ray, run.trial("a"), run.world_model("a")]
    assert len(set(paths)) == len(paths)
    assert all(path.is_relative_to(tmp_path) for path in paths)


def test_trials_are_the_folders_in_order(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    assert run.trials() == []
    for name in ("b", "a"):
        set_status(run.trial(name), "running")
    (tmp_path / "trials" / "note.txt").write_text("")
    assert [trial.name for trial in run.trials()] == ["a", "b"]


def test_status(tmp_path: Path) -> None:
    assert status_of(tmp_path) == "pending"
    set_status(tmp_path, "running", updates=3)
    assert status_of(tmp_path) == "running"
    set_status(tmp_path, "failed", error="why")
    assert read_json(tmp_path / "status.json") == {"status": "failed", "error": "why"}


def test_the_environment_is_recorded(tmp_path: Path) -> None:
    RunFolder(tmp_path).record_environment()
    facts = json.loads((tmp_path / "environment.json").read_text())
    assert {"python", "platform", "cpus", "gpus", "dwm_ray", "ray", "torch", "mujoco"} <= facts.keys()
    assert facts["torch"]


def test_a_truncated_file_is_ignored_with_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    set_status(tmp_path, "running", updates=3)
    path = tmp_path / "status.json"
    path.write_text(path.read_text()[:-9])
    assert read_json(path) is None
    assert status_of(tmp_path) == "pending"
    assert not is_trained(tmp_path)
    assert str(path) in caplog.text


def test_a_run_of_an_older_version_is_refused(tmp_path: Path) -> None:
    write_json(tmp_path / "config.json", {"run": {"cluster": {"lead_blocks": 64}}})
    with pytest.raises(ValueError, match="written by an older version of dwm_ray; expected a run of this version"):
        RunFolder.open(tmp_path)

"""Layout of run folders."""

import errno
import json
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors import SafetensorError

from dwm_ray.runs import tensor_files
from dwm_ray.runs.folder import RunFolder, read_json, set_status, status_of
from dwm_ray.runs.tensor_files import write_json
from dwm_ray.training.fit_world_model import is_trained


def test_runs_of_one_second_get_different_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "strftime", lambda layout: "20250101-120000")
    roots = [RunFolder.create(tmp_path / "runs", "minari:mujoco/hopper/medium-v0").root.name for _ in range(3)]
    start = "minari-mujoco-hopper-medium-v0-20250101-120000"
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


def test_only_a_folder_with_a_config_is_a_run(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="is not a run folder"):
        RunFolder.open(tmp_path)
    with pytest.raises(ValueError, match="is not a run folder"):
        RunFolder.open(tmp_path / "absent")
    write_json(tmp_path / "config.json", {})
    assert RunFolder.open(tmp_path).root == tmp_path.resolve()


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


TENSORS = {
    "weights": torch.randn(3, 4),
    "half": torch.randn(5).bfloat16(),
    "count": torch.tensor(7),
    "flags": torch.tensor([True, False]),
    "bytes": torch.Generator().manual_seed(1).get_state(),
    "transposed": torch.arange(6.0).reshape(2, 3).T,
    "empty": torch.zeros(0, 3),
}


def test_round_trip_keeps_values_types_and_meta(tmp_path: Path) -> None:
    tensor_files.save(tmp_path / "new" / "folder", "trainer", TENSORS, {"seconds": 1.5, "names": ["a"]})
    loaded, meta = tensor_files.load(tmp_path / "new" / "folder", "trainer")
    assert meta == {"seconds": 1.5, "names": ["a"]}
    assert loaded.keys() == TENSORS.keys()
    for name, value in TENSORS.items():
        assert loaded[name].dtype == value.dtype
        assert torch.equal(loaded[name], value), name


def test_tensors_that_share_memory_are_saved_separately(tmp_path: Path) -> None:
    base = torch.arange(4.0)
    tensor_files.save(tmp_path, "shared", {"all": base, "part": base[1:3], "again": base}, {})
    loaded, _ = tensor_files.load(tmp_path, "shared")
    assert loaded["part"].tolist() == [1.0, 2.0]
    assert torch.equal(loaded["all"], loaded["again"])


def test_an_interrupted_save_leaves_the_last_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tensor_files.save(tmp_path, "trainer", {"x": torch.ones(2)}, {"update": 1})

    def full_disk(tensors: dict[str, torch.Tensor], path: Path) -> None:
        path.write_bytes(b"half")
        raise OSError("No space left on device")

    monkeypatch.setattr("safetensors.torch.save_file", full_disk)
    with pytest.raises(OSError, match="No space left"):
        tensor_files.save(tmp_path, "trainer", {"x": torch.zeros(2)}, {"update": 2})
    loaded, meta = tensor_files.load(tmp_path, "trainer")
    assert (loaded["x"].tolist(), meta) == ([1.0, 1.0], {"update": 1})


@pytest.mark.parametrize("broken", ["trainer.safetensors", "trainer.json"])
def test_a_broken_or_absent_checkpoint_is_named(tmp_path: Path, broken: str) -> None:
    with pytest.raises(ValueError, match=r"no readable checkpoint 'trainer' there"):
        tensor_files.load(tmp_path, "trainer")
    tensor_files.save(tmp_path, "trainer", TENSORS, {})
    content = (tmp_path / broken).read_bytes()
    (tmp_path / broken).write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match=str(tmp_path)):
        tensor_files.load(tmp_path, "trainer")
    (tmp_path / broken).write_bytes(b"[]")
    with pytest.raises(ValueError, match=r"no readable checkpoint 'trainer' there"):
        tensor_files.load(tmp_path, "trainer")


def test_a_full_disk_is_an_error_of_the_operating_system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(tensors: dict[str, torch.Tensor], path: Path) -> None:
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    monkeypatch.setattr("safetensors.torch.save_file", fail)
    with pytest.raises(OSError, match="No space left on device") as raised:
        tensor_files.save(tmp_path, "trainer", TENSORS, {})
    assert raised.value.errno == errno.ENOSPC


def test_a_pickle_is_not_opened(tmp_path: Path) -> None:
    tensor_files.save(tmp_path, "trainer", TENSORS, {})
    torch.save(TENSORS, tmp_path / "trainer.safetensors")
    with pytest.raises(ValueError, match="no readable checkpoint"):
        tensor_files.load(tmp_path, "trainer")


def test_write_json_replaces_whole_files(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b.json"
    tensor_files.write_json(path, {"x": [1, None]})
    tensor_files.write_json(path, {"x": 2})
    assert json.loads(path.read_text()) == {"x": 2}
    with pytest.raises(TypeError):
        tensor_files.write_json(path, {"x": torch})
    assert json.loads(path.read_text()) == {"x": 2}
    assert [entry.name for entry in path.parent.iterdir()] == ["b.json"]


@given(st.dictionaries(st.text("ab.", max_size=4), st.integers(0, 9), max_size=5))
def test_prefixes_come_off_again(numbers: dict[str, int]) -> None:
    tensors = {key: torch.tensor(value) for key, value in numbers.items()}
    both = {**tensor_files.prefixed("agent", tensors), **tensor_files.prefixed("agents", tensors)}
    assert len(both) == 2 * len(tensors)
    assert tensor_files.unprefixed("agent", both) == tensors

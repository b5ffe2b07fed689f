"""Synchronisation of a run folder with its storage: markers come last in both directions, also if it is interrupted."""

import json
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dwm_ray.runs.folder import STORAGE_FILE, RunFolder, set_status, status_of
from dwm_ray.runs.storage import Storage, StorageFailed
from dwm_ray.runs.sync import SyncedFolder, work_folder
from dwm_ray.runs.tensor_files import write_json

MODEL = ("model.safetensors", "model.json", "error.json", "metrics.jsonl", "status.json")


@dataclass(frozen=True)
class Cut(Storage):
    """A storage that fails after `left` requests for content."""

    left: list[int] = field(default_factory=list)

    def content(self, name: str) -> None:
        self.left[0] -= 1
        if self.left[0] < 0:
            raise StorageFailed("storage: gone")

    def write(self, name: str, content: bytes, tries: int = 1) -> None:  # type: ignore[override]
        self.content(name)
        super().write(name, content, tries)

    def read(self, name: str) -> bytes:
        self.content(name)
        return super().read(name)


def cut(path: Path, left: int) -> Cut:
    return Cut("file", str(path), left=[left])


def model(folder: Path) -> None:
    folder.mkdir(parents=True)
    for name in MODEL:
        (folder / name).write_text(f'"{name}"')


@given(left=st.integers(0, len(MODEL)))
def test_a_marker_is_sent_after_all_other_files(left: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    base = tmp_path_factory.mktemp("cut")
    model(base / "here" / "world_models" / "abc")
    storage = cut(base / "kept", left)
    try:
        SyncedFolder(base / "here", storage).push([base / "here" / "world_models"])
    except StorageFailed:
        assert left < len(MODEL)
    there = {file.name for file in (base / "kept").rglob("*") if file.is_file()}
    assert there <= set(MODEL)
    assert "status.json" not in there or there == set(MODEL)


@given(left=st.integers(0, len(MODEL)))
def test_a_marker_is_fetched_after_all_other_files(left: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    base = tmp_path_factory.mktemp("cut")
    model(base / "kept" / "world_models" / "abc")
    try:
        SyncedFolder(base / "here", cut(base / "kept", left)).pull("world_models/abc")
    except StorageFailed:
        assert left < len(MODEL)
    here = {file.name for file in (base / "here").rglob("*") if file.is_file()}
    assert "status.json" not in here or here == set(MODEL)
    assert not [name for name in here if name.endswith(".part")]


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    """A run in remote storage at a path."""
    created = RunFolder.create(tmp_path / "runs", "task", Storage.folder(tmp_path / "kept"))
    write_json(created.config, {"run": {}})
    created.push_record()
    return created


def elsewhere(run: RunFolder, tmp_path: Path) -> RunFolder:
    """Open the run like another machine."""
    return RunFolder.open(run.address, tmp_path / "elsewhere")


def test_only_changed_files_are_sent(run: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    trial = run.trial("a")
    set_status(trial, "running")
    (trial / "metrics.jsonl").write_text("{}\n")
    run.push(trial)
    sent: list[str] = []
    write = Storage.write
    monkeypatch.setattr(Storage, "write", lambda self, name, *more: (sent.append(name), write(self, name, *more))[1])
    run.push(trial)
    assert sent == []
    (trial / "metrics.jsonl").write_text("{}\n{}\n")
    run.push(trial)
    assert sent == ["trials/a/metrics.jsonl"]


def test_another_machine_finds_the_run_without_weights_and_blocks(run: RunFolder, tmp_path: Path) -> None:
    model(run.world_model("m"))
    set_status(run.trial("a"), "done", updates=3)
    run.push(run.root / "world_models", run.root / "trials")
    for name in ("streams/s/block-000000.parquet", "streams/s/shape.json", "ray/x/y.pkl"):
        run.shared.write(name, b"{}")
    other = elsewhere(run, tmp_path)
    assert status_of(other.trial("a")) == "done"
    files = {str(file.relative_to(other.root)) for file in other.root.rglob("*") if file.is_file()}
    assert "streams/s/shape.json" in files
    assert not [name for name in files if name.endswith((".safetensors", ".parquet", ".pkl"))]
    assert (other.fetched(other.world_model("m")) / "model.safetensors").is_file()
    assert (other.name, other.address) == (run.name, run.address)


def test_each_side_fetches_what_the_other_writes(run: RunFolder, tmp_path: Path) -> None:
    other = elsewhere(run, tmp_path)
    for updates in range(3):
        set_status(run.trial("a"), "running", updates=updates)
        run.push(run.trial("a"))
        other.pull()
        assert json.loads((other.trial("a") / "status.json").read_text())["updates"] == updates
    with other.writing(other.trial("a") / "status.json"):
        set_status(other.trial("a"), "stopped")
    run.pull()
    assert status_of(run.trial("a")) == "stopped"


def test_a_copy_knows_its_storage_and_other_folders_are_left_alone(run: RunFolder, tmp_path: Path) -> None:
    assert RunFolder.open(run.root) == run
    assert not run.has(run.root / STORAGE_FILE)
    (tmp_path / "elsewhere" / run.name / "mine").mkdir(parents=True)
    with pytest.raises(ValueError, match="exists and is not a copy of"):
        elsewhere(run, tmp_path)


def test_an_address_without_a_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"is not a run folder: it has no config\.json"):
        RunFolder.open((tmp_path / "none").as_uri())


def test_nodes_work_in_a_private_folder_apart_from_the_drivers(
    run: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    node = RunFolder.at(run.address)
    assert node.shared == run.shared
    assert node.root != run.root
    assert node.root == work_folder(run.shared)
    assert node.root.parent.stat().st_mode & 0o077 == 0
    assert RunFolder.at(str(tmp_path)) == RunFolder(tmp_path), "without remote storage it is the folder itself"


def test_a_name_that_leads_out_of_the_folder_is_not_fetched(run: RunFolder, tmp_path: Path) -> None:
    """A link in the copy does not lead out."""
    (run.root / "trials").symlink_to(tmp_path / "outside")
    run.shared.write("trials/a/status.json", b"{}")
    with pytest.raises(StorageFailed, match="would be written outside"):
        run.pull()
    assert not (tmp_path / "outside").exists()

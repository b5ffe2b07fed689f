"""A probe file distinguishes the driver's folder from others and leaves nothing behind."""

from pathlib import Path

import pytest

from dwm_ray.runs.probe import find_probe, folder_probe
from dwm_ray.runs.storage import Storage


def test_a_probe_leaves_nothing(tmp_path: Path) -> None:
    with folder_probe(tmp_path / "a" / "runs") as probe:
        assert Storage.parse(probe).parent == Storage.folder(tmp_path / "a" / "runs")
        problem, seconds = find_probe(probe)
        assert problem is None
        assert seconds is not None
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ZeroDivisionError), folder_probe(tmp_path):
        _ = 1 / 0
    assert list(tmp_path.iterdir()) == []


def test_a_folder_in_use_by_another_program_stays(tmp_path: Path) -> None:
    with folder_probe(tmp_path / "runs"):
        (tmp_path / "runs" / "other").touch()
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["other"]


def test_an_output_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with (
        pytest.raises(ValueError, match=r"--output .*file: storage .*file: cannot write"),
        folder_probe(tmp_path / "file"),
    ):
        pass


def test_folders_that_are_not_the_drivers_are_distinguished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with folder_probe(tmp_path / "runs") as probe:
        runs = f"{tmp_path / 'runs'}"
        absent = find_probe((tmp_path / "runs" / ".check-x").as_uri())
        assert absent == (f"{runs} is not the driver's: the driver's file is missing", None)
        missing = find_probe((tmp_path / "mnt" / ".check-x").as_uri())
        assert missing == (f"{tmp_path / 'mnt'} does not exist here", None)

        def read_only(path: Path, content: bytes) -> int:
            raise OSError(30, "Read-only file system")

        with monkeypatch.context() as patch:
            patch.setattr(Path, "write_bytes", read_only)
            problem, _ = find_probe(probe)
        assert problem is not None
        assert "Read-only file system" in problem

import errno
from pathlib import Path

import pytest

from dwm_ray.runs.files import atomic_path, check_writable, locked, write_atomically


def write_half(path: Path) -> None:
    path.write_text("half", encoding="utf-8")
    raise KeyboardInterrupt


def test_a_file_is_complete_or_absent(tmp_path: Path) -> None:
    write_atomically(tmp_path / "new" / "a.txt", "ü")
    with pytest.raises(KeyboardInterrupt), atomic_path(tmp_path / "new" / "a.txt") as part:
        write_half(part)
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["a.txt"]
    assert (tmp_path / "new" / "a.txt").read_text(encoding="utf-8") == "ü"


def test_places_that_cannot_be_written_are_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "page.html").mkdir()
    check_writable("--output", tmp_path / "new" / "a.html")
    assert list((tmp_path / "new").iterdir()) == []
    for path, message in (("file/a.html", "; expected a folder that can be written"), ("page.html", ": is a folder")):
        with pytest.raises(ValueError, match=f"--output {tmp_path / path}.*{message}"):
            check_writable("--output", tmp_path / path)


def test_a_folder_is_held_by_one_program(tmp_path: Path) -> None:
    with locked(tmp_path):
        with pytest.raises(ValueError, match="another program uses it"), locked(tmp_path):
            pass
        with locked(tmp_path.parent):
            pass
    with locked(tmp_path):
        assert list(tmp_path.iterdir()) == []


def test_a_file_system_without_locks_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*args: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", refuse)
    with locked(tmp_path):
        pass
    assert "cannot be locked (No locks available); a second program in this folder is not detected" in caplog.text

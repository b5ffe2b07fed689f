import http.server
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import h5py
import numpy as np
import pytest
from recordings import pendulum, write

from dwm_ray.data import d4rl, download
from dwm_ray.data.environment import NamedEnvironment
from dwm_ray.types import DataCard


def ant(contacts: float, width: int = 111) -> dict[str, np.ndarray]:
    content = {key: value for key, value in pendulum().items() if key != "actions"}
    content["observations"] = np.zeros((12, width), dtype=np.float32)
    content["observations"][:, 0] = 0.5  # a height at which the Ant stands
    content["observations"][:, 27:] = contacts
    return {**content, "actions": np.zeros((12, 8), dtype=np.float32)}


def card_of(path: str, named: str | None, requested: str | None) -> DataCard:
    result = None if named is None else NamedEnvironment(named)
    return d4rl.card_of(DataCard("", "file", path, requested, ""), result, None)


@pytest.mark.parametrize(
    ("path", "named", "requested", "expected", "noted"),
    [
        ("x.hdf5", None, "Pendulum-v1", "Pendulum-v1", None),
        ("hopper_medium_replay-v2.hdf5", None, None, "Hopper-v4", None),
        ("hopper.hdf5", None, None, None, None),
        ("hopper.hdf5", "Hopper-v5", "none", None, None),
        ("x.hdf5", "Hopper-v5", "Walker2d-v4", "Walker2d-v4", "Hopper-v5"),
        ("hopper_medium-v2.hdf5", None, "Walker2d-v4", "Walker2d-v4", "Hopper-v4"),
    ],
)
def test_environment_comes_from_the_option_the_file_or_d4rls_name(
    path: str, named: str | None, requested: str | None, expected: str | None, noted: str | None
) -> None:
    card = card_of(path, named, requested)
    note = f"{path} names the environment {noted}; {expected} is used, as data.env requests"
    assert (card.env_id, card.notes) == (expected, (note,) if noted else ())


@pytest.mark.parametrize(
    "value", ["Pendulum-v1", b"Pendulum-v1", np.array([b"Pendulum-v1"]), np.array(["Pendulum-v1"], object)]
)
def test_texts_of_other_writers_name_the_environment(value: Any, tmp_path: Path) -> None:
    path = write(tmp_path / "a.hdf5", pendulum(), env_id=value)
    card = d4rl.read(path, "mine", "file", None).card
    assert (card.name, card.source, card.env_id, card.path) == ("mine", "file", "Pendulum-v1", str(path))


@pytest.mark.parametrize("value", [h5py.Empty("S10"), ""])
def test_empty_attributes_name_no_environment(value: Any, tmp_path: Path) -> None:
    path = write(tmp_path / "a.hdf5", pendulum(), env_id=value)
    assert d4rl.read(path, "a", "file", None).card.env_id is None


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (5, "attribute 'env_id' is .*5.*; expected the id of one environment as text"),
        (np.array([b"A-v0", b"B-v0"]), "attribute 'env_id' is"),
        (np.bytes_("Pendel-f\u00fcr-v1".encode("latin-1")), "attribute 'env_id' is"),
    ],
)
def test_attributes_that_name_no_environment_are_refused(value: Any, message: str, tmp_path: Path) -> None:
    path = write(tmp_path / "a.hdf5", pendulum(), env_id=value)
    with pytest.raises(ValueError, match=f"a.hdf5: {message}"):
        d4rl.read(path, "a", "file", None)


def test_next_observations_of_the_file_are_known(tmp_path: Path) -> None:
    content = {**pendulum(), "next_observations": pendulum()["observations"] + 1}
    data = d4rl.read(write(tmp_path / "a.hdf5", content), "a", "file", "Pendulum-v1")
    assert data.known_next.all()
    np.testing.assert_array_equal(data.next_obs, data.obs + 1)


def test_ant_without_contact_forces_is_read_as_ant_v4(tmp_path: Path) -> None:
    dead = write(tmp_path / "ant_medium-v2.hdf5", ant(contacts=0.0))
    assert d4rl.read(dead, "ant-medium", "D4RL v2", None).obs.shape == (12, 27)
    alive = write(tmp_path / "ant_expert-v2.hdf5", ant(contacts=1.0))
    with pytest.raises(ValueError, match=r"\(12, 111\); expected \(12, 27\)"):
        d4rl.read(alive, "ant-expert", "D4RL v2", None)


def test_unreadable_files_are_named(tmp_path: Path) -> None:
    whole = write(tmp_path / "whole.hdf5", {**pendulum(), "padding": np.zeros(5000)}, env_id="Pendulum-v1")
    cut = tmp_path / "cut.hdf5"
    cut.write_bytes(whole.read_bytes()[:6000])
    foreign = tmp_path / "foreign.hdf5"
    foreign.write_text("not HDF5")
    for path in (cut, foreign):
        with pytest.raises(ValueError, match=f"{path.name}: cannot be read as HDF5"):
            d4rl.read(path, "x", "file", None)
    with pytest.raises(ValueError, match=r"gone.hdf5: no such file"):
        d4rl.read(tmp_path / "gone.hdf5", "x", "file", None)
    other = write(tmp_path / "other.hdf5", {"data": np.zeros(3)}, env_id="Pendulum-v1")
    with pytest.raises(ValueError, match=r"other.hdf5: no key 'observations'"):
        d4rl.read(other, "x", "file", None)


def test_find_looks_in_d4rls_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("D4RL_DATASET_DIR", str(tmp_path))
    assert d4rl.find("hopper-medium-replay") is None
    path = write(tmp_path / "hopper_medium_replay-v2.hdf5", {})
    assert d4rl.find("hopper-medium-replay") == path
    monkeypatch.delenv("D4RL_DATASET_DIR")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert d4rl.folder() == tmp_path / ".d4rl" / "datasets"


def test_a_file_that_another_program_writes_is_named(tmp_path: Path) -> None:
    path = write(tmp_path / "open.hdf5", pendulum(), env_id="Pendulum-v1")
    code = f"import h5py, sys; f = h5py.File({str(path)!r}, 'r+'); print(flush=True); sys.stdin.read()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as writer:
        assert writer.stdout is not None
        writer.stdout.readline()
        with pytest.raises(ValueError, match=r"open.hdf5: .*lock.*; expected no program that has"):
            d4rl.read(path, "open", "file", None)
        writer.communicate()


def test_a_file_without_permission_and_a_folder_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="is a folder; expected an HDF5 file, or a folder of Parquet files"):
        d4rl.read(tmp_path, "folder", "file", None)

    def refuse(*args: Any) -> None:
        raise PermissionError(13, "Permission denied")

    path = write(tmp_path / "mine.hdf5", pendulum())
    monkeypatch.setattr(d4rl.h5py, "File", refuse)  # tests may run as root, who may read everything
    with pytest.raises(ValueError, match=r"mine.hdf5: .*Permission denied.*; expected a file that you may read"):
        d4rl.read(path, "mine", "file", None)


def test_an_unreadable_attribute_does_not_matter_if_an_environment_is_requested(tmp_path: Path) -> None:
    path = write(tmp_path / "a.hdf5", pendulum(), env_id=5)
    assert d4rl.read(path, "a", "file", "Pendulum-v1").card.env_id == "Pendulum-v1"


CONTENT = bytes(range(256)) * 40
NAME = "hopper_medium-v2.hdf5"


class Handler(http.server.BaseHTTPRequestHandler):
    cut = 0  # bytes held back from what was promised
    ranges = True
    asked: list[str] = []  # noqa: RUF012 - reset by the fixture

    def do_GET(self) -> None:
        asked = self.headers.get("Range", "")
        self.asked.append(asked)
        match = re.fullmatch(r"bytes=(\d+)-", asked)
        start = int(match.group(1)) if match and self.ranges else 0
        if self.path != f"/{NAME}":
            return self.send_error(404)
        if start >= len(CONTENT):
            return self.send_error(416)
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(CONTENT) - start))
        self.end_headers()
        self.wfile.write(CONTENT[start : len(CONTENT) - self.cut])
        return None

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def url(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[str]:
    monkeypatch.setenv("D4RL_DATASET_DIR", str(tmp_path / "sets"))
    monkeypatch.setattr(Handler, "asked", [])
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_file_arrives_whole_with_progress(url: str) -> None:
    seen: list[tuple[int, int | None]] = []
    path = d4rl.download("hopper-medium", lambda done, total: seen.append((done, total)), url)
    assert path.read_bytes() == CONTENT
    assert path == d4rl.find("hopper-medium")
    assert seen[-1] == (len(CONTENT), len(CONTENT))
    assert not list(path.parent.glob("*.part"))


def test_broken_download_is_continued(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Handler, "cut", 3000)
    with pytest.raises(ValueError, match="run again to continue"):
        d4rl.download("hopper-medium", lambda done, total: None, url)
    assert d4rl.find("hopper-medium") is None
    monkeypatch.setattr(Handler, "cut", 0)
    assert d4rl.download("hopper-medium", lambda done, total: None, url).read_bytes() == CONTENT
    assert Handler.asked == ["", f"bytes={len(CONTENT) - 3000}-"]


@pytest.mark.parametrize(("ranges", "stale"), [(False, b"old"), (True, bytes(len(CONTENT)))])
def test_part_that_cannot_be_continued_is_replaced(
    url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, ranges: bool, stale: bytes
) -> None:
    monkeypatch.setattr(Handler, "ranges", ranges)
    (tmp_path / "sets").mkdir()
    (tmp_path / "sets" / f"{NAME}.part").write_bytes(stale)
    assert d4rl.download("hopper-medium", lambda done, total: None, url).read_bytes() == CONTENT


def test_failures_name_the_address(url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"walker2d_medium-v2.hdf5: download .* failed: HTTP Error 404"):
        d4rl.download("walker2d-medium", lambda done, total: None, url)
    with pytest.raises(ValueError, match=r"http://127.0.0.1:9/x: download .* failed"):
        download.fetch("http://127.0.0.1:9/x", tmp_path / "x", lambda done, total: None)
    with pytest.raises(ValueError, match="did you mean"):
        d4rl.download("hoper-medium", lambda done, total: None, url)


def test_full_disk_is_noticed_before_the_download(url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(download.shutil, "disk_usage", lambda path: SimpleNamespace(free=100))
    with pytest.raises(ValueError, match="0 MB are free; expected the 0 MB needed"):
        d4rl.download("hopper-medium", lambda done, total: None, url)
    assert not list((tmp_path / "sets").iterdir())


def test_a_group_in_place_of_an_array_is_named(tmp_path: Path) -> None:
    content = {key: value for key, value in pendulum().items() if key != "observations"}
    path = write(tmp_path / "a.hdf5", {**content, "observations/camera": pendulum()["observations"]})
    with pytest.raises(ValueError, match="'observations' is a group of camera; expected an array"):
        d4rl.read(path, "a", "file", "Pendulum-v1")

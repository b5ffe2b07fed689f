"""The downloader against a server on this machine that knows ranges and can be told to hang up early."""

import http.server
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from dwm_ray.data import d4rl, download

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

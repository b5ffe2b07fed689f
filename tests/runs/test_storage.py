"""Storages: writes are atomic, failures are retried and then reported, names cannot lead out."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dwm_ray.runs import storage as module
from dwm_ray.runs.storage import TRIES, Storage, StorageFailed
from dwm_ray.runs.transfer_stats import TRANSFERS


@pytest.fixture
def here(tmp_path: Path) -> Storage:
    return Storage.parse(str(tmp_path / "kept"))


class Remote:
    """Stand-in for a remote file system, with failures on request."""

    def __init__(self) -> None:
        self.contents: dict[str, bytes] = {}
        self.fails: Callable[[], Exception | None] = lambda: None
        self.requests = 0

    def open_output_stream(self, path: str) -> Remote:
        self.requests += 1
        if error := self.fails():
            raise error
        self.path = path
        return self

    def write(self, content: bytes) -> None:
        self.pending = content

    def close(self) -> None:
        self.contents[self.path] = self.pending


@pytest.fixture
def remote(monkeypatch: pytest.MonkeyPatch) -> Remote:
    created = Remote()
    monkeypatch.setattr(module.time, "sleep", lambda seconds: None)
    monkeypatch.setattr(module, "_filesystem", lambda *about, **more: created)
    return created


S3 = Storage.parse("s3://bucket/runs")


def failing(times: int, error: Exception) -> Callable[[], Exception | None]:
    left = iter([error] * times)
    return lambda: next(left, None)


def test_files_are_written_read_and_listed(here: Storage) -> None:
    assert here.files() == []
    for name, content in (("b/c.json", b"{}"), ("a", b"")):
        here.write(name, content)
        assert here.read(name) == content
        assert here.exists(name)
    assert [(file.name, file.size) for file in here.files()] == [("a", 0), ("b/c.json", 2)]
    assert [file.name for file in here.child("b").files()] == ["c.json"]
    here.delete("a")
    assert not here.exists("a")
    with pytest.raises(FileNotFoundError):
        here.read("a")


def test_the_probe_leaves_nothing(here: Storage) -> None:
    assert here.probe() > 0
    assert list(Path(here.path).iterdir()) == []


@given(first=st.binary(max_size=2000), second=st.binary(max_size=2000))
def test_an_interrupted_write_leaves_the_old_content(
    first: bytes, second: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    here = Storage.folder(tmp_path_factory.mktemp("kept"))
    here.write("file", first)
    replace = Path.replace

    def dies(self: Path, target: Path) -> Path:
        raise OSError(28, "No space left on device")

    Path.replace = dies  # type: ignore[method-assign, assignment]
    try:
        with pytest.raises(StorageFailed, match=r"cannot write file: .*No space left"):
            here.write("file", second)
    finally:
        Path.replace = replace  # type: ignore[method-assign]
    assert here.read("file") == first
    assert [file.name for file in here.files()] == ["file"]


def test_readers_never_see_a_partial_file(here: Storage) -> None:
    here.write("file", b"a" * 100_000)
    done = threading.Event()

    def write() -> None:
        for turn in range(100):
            here.write("file", (b"a", b"b")[turn % 2] * 100_000)
        done.set()

    writer = threading.Thread(target=write)
    writer.start()
    while not done.is_set():
        content = here.read("file")
        assert len(content) == 100_000
        assert len(set(content)) == 1
    writer.join()


def test_failures_are_retried_and_counted(remote: Remote) -> None:
    before = dict(TRANSFERS.counts)
    remote.fails = failing(TRIES - 1, OSError("503 Slow Down"))
    S3.write("a/b", b"content")
    assert remote.contents == {"bucket/runs/a/b": b"content"}
    assert TRANSFERS.counts["retries"] - before["retries"] == TRIES - 1
    assert TRANSFERS.counts["failures"] == before["failures"]
    assert TRANSFERS.counts["written_bytes"] - before["written_bytes"] == 7


def test_a_persistent_failure_names_address_and_action(remote: Remote) -> None:
    before = dict(TRANSFERS.counts)
    remote.fails = failing(100, OSError("503 Slow Down"))
    with pytest.raises(StorageFailed, match=r"storage s3://bucket/runs: cannot write a/b: 503 Slow Down"):
        S3.write("a/b", b"content")
    assert (remote.contents, remote.requests) == ({}, TRIES)
    assert TRANSFERS.counts["failures"] - before["failures"] == 1


@pytest.mark.parametrize("why", ["AWS Error ACCESS_DENIED", "AWS Error NO_SUCH_BUCKET"])
def test_permanent_failures_are_not_retried(why: str, remote: Remote) -> None:
    remote.fails = failing(100, OSError(why))
    with pytest.raises(StorageFailed, match=why):
        S3.write("a", b"")
    assert remote.requests == 1


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("ftp://host/runs", "expected s3://BUCKET/FOLDER, gs://BUCKET/FOLDER or a path"),
        ("s3://", "expected a bucket"),
        ("s3:///runs", "expected a bucket"),
        ("s3://bucket/a/../b", "expected a bucket"),
        ("s3://bucket/a//b", "expected a bucket"),
        ("s3://KEY:SECRET@bucket/runs", "the address contains credentials"),
        ("s3://bucket/runs?endpoint_override=KEY:SECRET@host", "the address contains credentials"),
        ("s3://bucket/runs?access_key=KEY&secret_key=SECRET", "access_key, secret_key cannot be set"),
    ],
)
def test_invalid_addresses_are_refused_without_repeating_keys(text: str, says: str) -> None:
    with pytest.raises(ValueError, match=re.escape(says)) as caught:
        Storage.parse(text)
    assert "SECRET" not in str(caught.value)
    assert "KEY" not in str(caught.value)


@pytest.mark.parametrize(
    "text",
    ["s3://bucket", "s3://bucket/runs?endpoint_override=127.0.0.1:1&scheme=http", "gs://bucket/a/b", "/a/b", "a"],
)
def test_an_address_identifies_its_storage(text: str) -> None:
    result = Storage.parse(text)
    assert Storage.parse(result.address) == result
    child = result.child("x/y")
    assert Storage.parse(child.address) == child
    assert (child.name, child.parent.parent) == ("y", result)


@given(st.lists(st.sampled_from(["..", ".", "", "a", "/", "b\\c", "\n"]), min_size=1, max_size=4))
def test_no_name_leads_out_of_a_storage(parts: list[str]) -> None:
    name, kept = "/".join(parts), Storage("file", "/kept")
    try:
        inside = kept.child(name)
    except ValueError:
        return
    assert os.path.normpath(inside.path).startswith("/kept/")
    assert os.path.normpath(inside.path) == inside.path


def test_a_write_calls_the_listener(here: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []
    monkeypatch.setattr(TRANSFERS, "on_change", lambda counts: seen.append(dict(counts)))
    here.write("a", b"12345")
    assert seen[-1]["written_bytes"] - seen[0]["written_bytes"] in (0, 5)
    assert seen[-1].keys() == {"written_bytes", "read_bytes", "seconds", "retries", "failures"}

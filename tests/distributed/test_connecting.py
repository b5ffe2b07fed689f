"""Errors of a program that can neither join nor start a cluster; `ray.init` is replaced."""

import socket
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NoReturn

import pytest
import ray
from ray.exceptions import AuthenticationError

from dwm_ray.distributed.cluster import connection
from dwm_ray.distributed.cluster.connection import check_answer, connect
from dwm_ray.runs.folder import RunFailed

TIMEOUT = Exception("The current node timed out during startup. This could happen because ...")


@pytest.mark.parametrize(
    ("address", "raised", "expected", "message"),
    [
        (None, TIMEOUT, RunFailed, r"did not start within .*load of this machine: \d+ on \d+ CPUs"),
        ("10.0.0.1:6379", ConnectionError("no"), ValueError, r"RAY_ADDRESS 10\.0\.0\.1:6379: no Ray cluster answers"),
        ("10.0.0.1:6379", AuthenticationError("no token"), ValueError, "does not accept this token"),
        (None, RuntimeError("something else"), RuntimeError, "something else"),
    ],
)
def test_the_reason_is_named(
    monkeypatch: pytest.MonkeyPatch, address: str | None, raised: Exception, expected: type[Exception], message: str
) -> None:
    def init(*args: Any, **options: Any) -> NoReturn:
        raise raised

    monkeypatch.setattr(ray, "init", init)
    monkeypatch.setattr(connection, "check_answer", lambda: None)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    if address:
        monkeypatch.setenv("RAY_ADDRESS", address)
    with pytest.raises(expected, match=message):
        connect()


@pytest.mark.parametrize("kind", ["refuses", "is silent", "is no address"])
def test_a_cluster_that_is_gone_is_refused_in_time(monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    monkeypatch.setattr(connection, "ANSWER_S", 0.2)
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        if kind == "is silent":
            server.listen()
        address = "nowhere" if kind == "is no address" else f"127.0.0.1:{server.getsockname()[1]}"
        monkeypatch.setenv("RAY_ADDRESS", address)
        with pytest.raises(ValueError, match=f"RAY_ADDRESS {address}: no Ray cluster answers"):
            check_answer()


@pytest.mark.parametrize("address", ["", "local", " "])
def test_an_empty_or_local_address_starts_a_cluster(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    monkeypatch.setenv("RAY_ADDRESS", address)
    started: list[dict[str, Any]] = []
    monkeypatch.setattr(ray, "init", lambda **options: started.append(options) or SimpleNamespace(dashboard_url="d"))
    connect()
    assert started[0]["address"] == "local"
    assert started[0]["dashboard_host"] == "127.0.0.1"


def test_a_long_temporary_path_is_replaced(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Ray's sockets have addresses of at most 107 bytes."""
    monkeypatch.setenv("RAY_TMPDIR", "/tmp")
    assert connection.short_temp_dir() is None
    monkeypatch.setenv("RAY_TMPDIR", "/tmp/" + "x" * 60)
    short = connection.short_temp_dir()
    assert short is not None
    assert len(short) < connection.MAX_BYTES
    assert f"its files are in {short}" in caplog.text
    Path(short).rmdir()
    monkeypatch.setattr(connection, "SHORT", str(tmp_path / "absent"))
    with pytest.raises(ValueError, match=r"TMPDIR: .* is too long for the sockets of Ray"):
        connection.short_temp_dir()

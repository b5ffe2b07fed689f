"""Errors of a program that can neither join nor start a cluster; `ray.init` is replaced."""

from __future__ import annotations

from typing import Any, NoReturn

import pytest
import ray
from ray.exceptions import AuthenticationError

from dwm_ray.distributed.cluster.connection import connect
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
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    if address:
        monkeypatch.setenv("RAY_ADDRESS", address)
    with pytest.raises(expected, match=message):
        connect()

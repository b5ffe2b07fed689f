"""What a program says where it can neither join nor start a cluster; Ray itself is replaced."""

from __future__ import annotations

from typing import Any, NoReturn

import pytest
import ray

from dwm_ray.distributed.cluster.connection import connect
from dwm_ray.runs.folder import RunFailed


def refuse(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def init(*args: Any, **options: Any) -> NoReturn:
        raise error

    monkeypatch.setattr(ray, "init", init)


def test_a_machine_that_is_too_busy_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    refuse(monkeypatch, Exception("The current node timed out during startup. This could happen because ..."))
    with pytest.raises(RunFailed, match=r"did not start within .*load of this machine: \d+ on \d+ CPUs"):
        connect()


def test_an_address_where_nothing_answers_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    refuse(monkeypatch, ConnectionError("no"))
    with pytest.raises(ValueError, match=r"RAY_ADDRESS 10\.0\.0\.1:6379: no Ray cluster answers there"):
        connect()


def test_other_errors_are_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    refuse(monkeypatch, RuntimeError("something else"))
    with pytest.raises(RuntimeError, match="something else"):
        connect()

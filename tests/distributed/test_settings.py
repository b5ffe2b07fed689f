"""Ray's settings: applied on request only, without overriding the user's, with a token that only the user can read."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from ray._private import ray_constants
from ray._raylet import AuthenticationMode, Config, get_authentication_mode

from dwm_ray.distributed.cluster import settings

AUTH = ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")
LOOPBACK_ONLY = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty home folder of a user without settings; Ray's state is restored afterwards."""
    multi_node = ray_constants.ENABLE_RAY_CLUSTER
    with monkeypatch.context() as patch:
        patch.setenv("HOME", str(tmp_path))
        for name in (*AUTH, "RAY_ADDRESS", *settings.SETTINGS, *settings.LOCAL_SETTINGS):
            patch.delenv(name, raising=False)
        yield tmp_path
    Config.initialize("")
    ray_constants.ENABLE_RAY_CLUSTER = multi_node


def test_a_private_token_is_created_once(home: Path) -> None:
    settings.apply()
    path = home / ".ray" / "auth_token"
    token = path.read_text()
    assert os.environ["RAY_AUTH_MODE"] == "token"
    assert get_authentication_mode() == AuthenticationMode.TOKEN, "also in the Ray that is imported already"
    assert len(token) == 64
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    settings.apply()
    assert path.read_text() == token


def test_a_token_file_that_others_can_read_is_closed(home: Path) -> None:
    path = home / ".ray" / "auth_token"
    path.parent.mkdir()
    path.write_text("known")
    path.chmod(0o644)
    settings.apply()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert path.read_text() == "known"


def test_two_first_starts_use_one_complete_token(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = home / ".ray" / "auth_token"
    exists = Path.exists

    def too_early(self: Path) -> bool:
        """Answer before another program creates the file."""
        result = exists(self)
        if self == path and not result:
            path.write_text("of the other program")
        return result

    monkeypatch.setattr(Path, "exists", too_early)
    settings.apply()
    assert [file.name for file in path.parent.iterdir()] == ["auth_token"]
    assert path.read_text() == "of the other program"


@pytest.mark.parametrize("kind", ["file", "missing"])
def test_a_home_that_cannot_be_used_costs_only_the_stored_token(
    home: Path, kind: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    if kind == "file":
        (home / ".ray").write_text("")
    else:
        monkeypatch.setattr(Path, "home", _no_home)
    monkeypatch.delenv("RAY_AUTH_TOKEN", raising=False)
    settings.apply()
    assert len(os.environ["RAY_AUTH_TOKEN"]) == 64
    assert settings.token_location() == "of RAY_AUTH_TOKEN"
    assert "the token of this program's cluster is not stored" in caplog.text


def _no_home() -> Path:
    raise RuntimeError("Could not determine home directory.")


@pytest.mark.parametrize("mode", ["disabled", "token"])
def test_the_users_mode_stays(home: Path, monkeypatch: pytest.MonkeyPatch, mode: str) -> None:
    monkeypatch.setenv("RAY_AUTH_MODE", mode)
    settings.apply()
    assert os.environ["RAY_AUTH_MODE"] == mode
    assert not (home / ".ray").exists()


def test_joining_a_cluster_creates_no_token(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "192.0.2.1:6379")
    settings.apply()
    assert os.environ["RAY_AUTH_MODE"] == "token"
    assert not (home / ".ray").exists()


@pytest.mark.parametrize(("address", "mode"), [(None, "0"), ("", "0"), ("local", "0"), ("192.0.2.1:6379", None)])
def test_only_a_local_cluster_is_restricted_to_loopback(
    monkeypatch: pytest.MonkeyPatch, address: str | None, mode: str | None
) -> None:
    if address is not None:
        monkeypatch.setenv("RAY_ADDRESS", address)
    settings.apply()
    assert os.environ.get(LOOPBACK_ONLY) == mode
    assert ray_constants.ENABLE_RAY_CLUSTER is (mode is None), "also in the Ray that is imported already"

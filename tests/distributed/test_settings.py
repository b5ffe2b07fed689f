"""Ray's settings: the user's choice stays; without one, a token that only the user can read is demanded."""

import os
import stat

import pytest

from dwm_ray.distributed.cluster import settings


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def test_a_private_token_is_made_once(home):
    settings.apply()
    path = home / ".ray" / "auth_token"
    token = path.read_text()
    assert os.environ["RAY_AUTH_MODE"] == "token"
    assert len(token) == 64
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    settings.apply()
    assert path.read_text() == token


def test_a_token_file_that_others_can_read_is_closed(home):
    path = home / ".ray" / "auth_token"
    path.parent.mkdir()
    path.write_text("known")
    path.chmod(0o644)
    settings.apply()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert path.read_text() == "known"


@pytest.mark.parametrize("mode", ["disabled", "token"])
def test_the_users_mode_stays(home, monkeypatch, mode):
    monkeypatch.setenv("RAY_AUTH_MODE", mode)
    settings.apply()
    assert os.environ["RAY_AUTH_MODE"] == mode
    assert not (home / ".ray").exists()


@pytest.mark.parametrize(("address", "mode"), [(None, "0"), ("192.0.2.1:6379", None)])
def test_only_a_cluster_of_one_machine_is_kept_on_loopback(home, monkeypatch, address, mode):
    monkeypatch.delenv("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", raising=False)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    if address:
        monkeypatch.setenv("RAY_ADDRESS", address)
    settings.apply()
    assert os.environ.get("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER") == mode

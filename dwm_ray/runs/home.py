"""The home folder of the user, who may have none: in containers, or under a number without an account."""

from __future__ import annotations

from pathlib import Path


def home_folder() -> Path:
    """Return the home folder; a path that cannot be created if there is none."""
    try:
        return Path.home()
    except RuntimeError:
        return Path("/dev/null/home")

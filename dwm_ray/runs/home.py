"""The home folder of the user."""

from pathlib import Path


def home_folder() -> Path:
    """Return the home folder, or a path that cannot be created if the user has none, as in some containers."""
    try:
        return Path.home()
    except RuntimeError:
        return Path("/dev/null/home")

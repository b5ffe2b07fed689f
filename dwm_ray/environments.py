"""Make a Gymnasium environment from the id that the data name, quietly, and with errors that say what to install.

D4RL data were recorded in '-v4' MuJoCo environments, so those ids are wanted here: Gymnasium's advice to upgrade is
silenced, and so is MuJoCo's notice on one outdated attribute of those robots' files (which also goes to a
MUJOCO_LOG.TXT in the working directory otherwise). Everything else is passed on.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import gymnasium
import mujoco

ROBOTICS = ("PointMaze", "AntMaze", "Adroit", "Franka", "Fetch", "Hand")
"""Beginnings of the ids that the package gymnasium-robotics registers."""


def make_environment(env_id: str) -> gymnasium.Env:
    """One environment as Gymnasium makes it; ValueError where this machine cannot."""
    try:
        with _quiet():
            return gymnasium.make(env_id)
    except (gymnasium.error.Error, ImportError) as error:
        raise ValueError(f"environment {env_id!r} cannot be made here: {error} {_remedy(env_id)}") from error


def _remedy(env_id: str) -> str:
    if env_id.startswith(ROBOTICS):
        return "Install it with: pip install gymnasium-robotics"
    return "MuJoCo tasks need gymnasium[mujoco] and an id that ends in -v4 or -v5."


@contextmanager
def _quiet() -> Iterator[None]:
    before = mujoco.get_mju_user_warning()
    mujoco.set_mju_user_warning(_pass_on)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*is out of date", category=DeprecationWarning)
            yield
    finally:
        mujoco.set_mju_user_warning(before)


def _pass_on(text: str) -> None:
    if "settotalmass" not in text:
        print(f"MuJoCo: {text}", file=sys.stderr)

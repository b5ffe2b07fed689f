"""Marks for tests of optional packages; unlike `pytest.importorskip` they do not import the package."""

from importlib.util import find_spec

import pytest


def _needs(package: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(find_spec(package) is None, reason=f"{package} is not installed")


needs_ogbench = _needs("ogbench")
needs_robotics = _needs("gymnasium_robotics")
needs_stable_baselines = _needs("stable_baselines3")

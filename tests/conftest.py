"""Tests work on tiny tensors, where a second thread costs more than it brings; and on no cluster but their own."""

import os

os.environ["OMP_NUM_THREADS"] = "1"
os.environ["RAY_AUTH_MODE"] = "disabled"  # read when Ray is imported; processes that tests start inherit it
os.environ["MUJOCO_GL"] = "disabled"  # reports of test runs render no frames
os.environ.pop("RAY_ADDRESS", None)

from pathlib import Path

import hypothesis
import pytest
import torch

torch.set_num_threads(1)
hypothesis.settings.register_profile("untimed", deadline=None)  # a busy machine is no failure
hypothesis.settings.load_profile("untimed")


@pytest.fixture(scope="session")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny recording of all tests; do not modify it."""
    from tiny_task import recording

    return recording(tmp_path_factory.mktemp("data") / "pendulum.hdf5")

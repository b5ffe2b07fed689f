"""One local Ray cluster for all tests of this folder that ask for it."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import ray
from s3_server import ENVIRONMENT
from tiny_task import recording

import dwm_ray.distributed  # noqa: F401 - makes Ray's settings


@pytest.fixture(scope="session")
def cluster() -> Iterator[str]:
    """Address of a cluster of four (logical) CPUs that this process is connected to. Ray Train asks the dashboard if
    a trial is over before it frees the trial's resources: without one, the next trial would wait for ever."""
    os.environ.update(ENVIRONMENT)  # workers inherit it; it is S3's way to tell who one is
    quiet = {"log_to_driver": False, "logging_level": logging.WARNING}
    context = ray.init(address="local", num_cpus=4, include_dashboard=True, dashboard_host="127.0.0.1", **quiet)
    yield context.address_info["gcs_address"]
    ray.shutdown()


@pytest.fixture(scope="session")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny recording."""
    return recording(tmp_path_factory.mktemp("data") / "pendulum.hdf5")

"""One local Ray cluster for all tests of this folder that request it."""

import logging
import os
from collections.abc import Iterator

import pytest
import ray
from s3_server import ENVIRONMENT

from dwm_ray.distributed.cluster import settings


@pytest.fixture(scope="session")
def cluster() -> Iterator[str]:
    """Address of a cluster of four (logical) CPUs that this process is connected to. It needs its dashboard: Ray Train
    frees a trial's resources after the dashboard has reported the trial's end."""
    os.environ.update(ENVIRONMENT)  # credentials for S3, inherited by workers
    os.environ.update({"RAY_metrics_report_interval_ms": "1000"})  # gauges of processes that live for seconds
    settings.apply()
    quiet = {"log_to_driver": False, "logging_level": logging.WARNING}
    context = ray.init(address="local", num_cpus=4, include_dashboard=True, dashboard_host="127.0.0.1", **quiet)
    yield context.address_info["gcs_address"]
    ray.shutdown()

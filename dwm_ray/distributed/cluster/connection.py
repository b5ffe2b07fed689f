"""Join a Ray cluster, or start one on this machine."""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import ray
from ray.exceptions import AuthenticationError

from dwm_ray.distributed.cluster import settings
from dwm_ray.distributed.cluster.nodes import alive_nodes, scaling_limits, total
from dwm_ray.runs.folder import RunFailed

STARTUP_TIMEOUT = "timed out during startup"
"""Part of the message of Ray's error, which has no class of its own."""


def connect() -> str:
    """Join the cluster of RAY_ADDRESS (set by `ray job submit`) or start one here; return the dashboard's address.

    A second call has no effect. Raise ValueError if no cluster answers at RAY_ADDRESS or it runs without its dashboard,
    and RunFailed if this machine is too busy for Ray to start.
    """
    if not ray.is_initialized():
        settings.apply()
    with _own_handlers():
        dashboard = _init(os.environ.get("RAY_ADDRESS")).dashboard_url
    if not dashboard:
        raise ValueError(
            "the Ray cluster runs without its dashboard, which Ray Train needs to free the resources of ended trials; "
            "install ray[default] on the head and start it with --include-dashboard=true"
        )
    token_file = os.environ.get("RAY_AUTH_TOKEN_PATH", "~/.ray/auth_token")
    token = f" (requires the token in {token_file})" if os.environ["RAY_AUTH_MODE"] == "token" else ""
    return f"Ray dashboard: http://{dashboard}{token}"


@contextmanager
def _own_handlers() -> Iterator[None]:
    """Set the program's handlers of signals again: Ray replaces them, that of SIGTERM also in C++, where it aborts."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items() if threading.current_thread() is threading.main_thread() else ():
            signal.signal(number, handler)


def _init(address: str | None) -> Any:
    here = {"address": "local", "include_dashboard": True, "dashboard_host": "127.0.0.1"}
    try:
        return ray.init(
            **({"address": address} if address else here),
            ignore_reinit_error=True,
            log_to_driver=False,
            logging_level=logging.WARNING,
            runtime_env=settings.RUNTIME_ENV,
        )
    except (ConnectionError, AuthenticationError) as error:
        message = f"RAY_ADDRESS {address}: no Ray cluster answers there, or it does not accept this token"
        raise ValueError(message) from error
    except Exception as error:
        if STARTUP_TIMEOUT not in str(error):
            raise
        raise RunFailed(
            f"Ray did not start within its limit of 30 s (load of this machine: {os.getloadavg()[0]:.0f} on "
            f"{os.cpu_count()} CPUs); start again, or continue with --resume, when the machine is less busy"
        ) from error


def cluster_has_gpus() -> bool:
    """Return whether the cluster of RAY_ADDRESS has GPUs or can add nodes with GPUs; join it."""
    if "RAY_ADDRESS" not in os.environ:
        return False
    connect()
    limits = scaling_limits()
    return total(alive_nodes() + (limits.nodes() if limits else []), "GPU") > 0

"""Join a Ray cluster, or start one on this machine and remove its files at the end."""

import logging
import os
import shutil
import signal
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import grpc
import ray
from ray._common.utils import get_default_ray_temp_dir
from ray._private import worker
from ray._private.grpc_utils import init_grpc_channel
from ray._private.services import canonicalize_bootstrap_address_or_die
from ray.exceptions import AuthenticationError

from dwm_ray.distributed.cluster import settings
from dwm_ray.distributed.cluster.resources import alive_nodes, scaling_limits, total
from dwm_ray.distributed.cluster.settings import joined_address
from dwm_ray.runs.folder import RunFailed

MAX_BYTES = 107 - len("/session_2026-11-28_12-00-00_000000_4194304/sockets/plasma_store")
"""Longest path of Ray's folder: the address of a Unix socket has at most 107 bytes."""
SHORT, PREFIX = "/tmp", "dwm-"
STARTUP_TIMEOUT = "timed out during startup"
"""Part of the message of Ray's error, which has no class of its own."""
ANSWER_S = 10.0
"""Maximum seconds for the answer of the cluster at RAY_ADDRESS; Ray itself tries for minutes."""
logger = logging.getLogger(__name__)


def short_temp_dir() -> str | None:
    """Return a new folder for Ray's files if the default one (RAY_TMPDIR, TMPDIR or /tmp) is too long for sockets.

    Raise ValueError if no short folder can be created.
    """
    usual = get_default_ray_temp_dir()
    if len(os.fsencode(usual)) <= MAX_BYTES:
        return None
    try:
        short = tempfile.mkdtemp(prefix=PREFIX, dir=SHORT)
    except OSError as error:
        raise ValueError(
            f"TMPDIR: {usual} is too long for the sockets of Ray, and {SHORT} cannot be used ({error.strerror}); "
            f"expected RAY_TMPDIR of at most {MAX_BYTES - len('/ray')} bytes"
        ) from error
    logger.warning("TMPDIR: %s is too long for the sockets of Ray; its files are in %s", usual, short)
    return short


@contextmanager
def removed_at_end() -> Iterator[None]:
    """Stop a cluster that is started in this context and remove its files; after an error, its logs remain."""
    starts, failed = joined_address() is None and not ray.is_initialized(), False
    try:
        yield
    except Exception:
        failed = True
        raise
    finally:
        if starts and not failed and ray.is_initialized():
            _stop()


def _stop() -> None:
    """Stop the cluster that this program started, and remove its files."""
    session = Path(worker._global_node.get_session_dir_path())
    disconnect()
    folder = session.parent
    if folder.name.startswith(PREFIX):
        shutil.rmtree(folder, ignore_errors=True)
        return
    shutil.rmtree(session, ignore_errors=True)
    for link in folder.glob("*"):
        if link.is_symlink() and not link.exists():  # to the session
            with suppress(OSError):
                link.unlink()


def disconnect() -> None:
    """Disconnect from the cluster, and stop it if this program started it."""
    with _own_handlers():
        ray.shutdown()


def connect() -> str:
    """Join the cluster of RAY_ADDRESS (set by `ray job submit`) or start one here; return the dashboard's address.

    A second call has no effect. Raise ValueError if no cluster answers at RAY_ADDRESS or it runs without its dashboard,
    and RunFailed if this machine is too busy for Ray to start.
    """
    if not ray.is_initialized():
        settings.apply()
    with _own_handlers():
        dashboard = _init(joined_address()).dashboard_url
    if not dashboard:
        raise ValueError(
            "the Ray cluster runs without its dashboard, which Ray Train needs to free the resources of ended trials; "
            "install ray[default] on the head and start it with --include-dashboard=true"
        )
    token = f" (requires the token {settings.token_location()})" if os.environ["RAY_AUTH_MODE"] == "token" else ""
    return f"Ray dashboard: http://{dashboard}{token}"


def check_answer() -> None:
    """Raise ValueError if RAY_ADDRESS names a cluster that does not answer; a cluster to be started here is fine."""
    address = joined_address()
    if address is None or ray.is_initialized():
        return
    settings.apply()
    try:
        endpoint = canonicalize_bootstrap_address_or_die(address)
        with init_grpc_channel(endpoint, [("grpc.enable_http_proxy", 0)]) as channel:
            channel.unary_unary("/grpc.health.v1.Health/Check")(b"", timeout=ANSWER_S, wait_for_ready=True)
    except (grpc.RpcError, ConnectionError, ValueError, OSError, AuthenticationError) as error:
        raise _no_answer(address) from error


def _no_answer(address: str | None) -> ValueError:
    return ValueError(
        f"RAY_ADDRESS {address}: no Ray cluster answers there, or it does not accept this token; expected HOST:PORT of "
        "a running cluster, or no RAY_ADDRESS to start one on this machine"
    )


@contextmanager
def _own_handlers() -> Iterator[None]:
    """Restore the program's signal handlers afterwards: Ray replaces or removes them, that of SIGTERM also in C++."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items() if threading.current_thread() is threading.main_thread() else ():
            signal.signal(number, handler)


def _init(address: str | None) -> Any:
    new = {"address": "local", "include_dashboard": True, "dashboard_host": "127.0.0.1"}
    joined = {"address": address, "runtime_env": settings.RUNTIME_ENV}
    check_answer()
    try:
        return ray.init(
            **(joined if address else {**new, "_temp_dir": short_temp_dir()}),
            ignore_reinit_error=True,
            log_to_driver=False,
            logging_level=logging.WARNING,
        )
    except (ConnectionError, AuthenticationError) as error:
        raise _no_answer(address) from error
    except Exception as error:
        if STARTUP_TIMEOUT not in str(error):
            raise
        raise RunFailed(
            f"Ray did not start within its limit of 30 s (load of this machine: {os.getloadavg()[0]:.0f} on "
            f"{os.cpu_count()} CPUs); start again, or continue with --resume, when the machine is less busy"
        ) from error


def cluster_has_gpus() -> bool:
    """Return whether the cluster of RAY_ADDRESS has GPUs or can add nodes with GPUs; join it."""
    if joined_address() is None:
        return False
    connect()
    limits = scaling_limits()
    return total(alive_nodes() + (limits.nodes() if limits else []), "GPU") > 0

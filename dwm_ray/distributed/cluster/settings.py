"""Environment variables of Ray that the project sets, unless the user has set them.

A cluster started here requires a token, stored in a file that only the user can read, and listens on loopback only.
"""

import logging
import os
import secrets
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

from ray._private import ray_constants
from ray._raylet import Config  # type: ignore[attr-defined]

from dwm_ray.runs.home import home_folder

SETTINGS = {
    "RAY_worker_niceness": "0",  # Ray's default of nice 15 starves its workers if other programs run
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.5",  # a report to Ray Train waits for this poll (default 2 s)
    "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "120",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",  # checkpoints before the first evaluation have no score
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # the project's writers are the only ones
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",  # the traceback; the project prints the cause
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # Ctrl-C ends the program instead of one pass of the scheduler
    "RAY_AIR_NEW_OUTPUT": "0",  # the project's progress display is the only one
    "RAY_worker_maximum_startup_concurrency": "16",
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
}
LOCAL_SETTINGS = {
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",  # this machine is not preempted: one process less per trial
    # Listen on loopback only. Without this variable, Ray replaces an explicit address 127.0.0.1 with a public one.
    ray_constants.ENABLE_RAY_CLUSTERS_ENV_VAR: "0",
}
"""Settings of a cluster that is started here."""
logger = logging.getLogger(__name__)


def joined_address() -> str | None:
    """Return the address of the cluster to join: RAY_ADDRESS, unless it is empty or `local`."""
    address = os.environ.get("RAY_ADDRESS", "").strip()
    return None if address in ("", "local") else address


def apply() -> None:
    """Set the variables. Call it before `ray.init`; the import of Ray may come earlier."""
    prepare_worker()
    starts_cluster = joined_address() is None
    for name, value in LOCAL_SETTINGS.items() if starts_cluster else ():
        os.environ.setdefault(name, value)
    if "RAY_AUTH_MODE" not in os.environ:
        os.environ["RAY_AUTH_MODE"] = "token"
        if starts_cluster and not {"RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"} & set(os.environ):
            _own_token()
    _reread()


def token_location() -> str:
    """Return the location of the cluster's token for messages: 'of VARIABLE' or 'in FILE'."""
    if "RAY_AUTH_TOKEN" in os.environ:
        return "of RAY_AUTH_TOKEN"
    return f"in {os.environ.get('RAY_AUTH_TOKEN_PATH', '~/.ray/auth_token')}"


def _reread() -> None:
    """Make Ray reread the variables that it reads on import."""
    Config.initialize("")  # as Ray does when it enables token authentication itself
    ray_constants.ENABLE_RAY_CLUSTER = ray_constants.env_bool(
        ray_constants.ENABLE_RAY_CLUSTERS_ENV_VAR, not ray_constants.IS_WINDOWS_OR_OSX
    )


def _own_token() -> None:
    """Create the token of clusters that start here; without a home folder, one for this program only."""
    path = home_folder() / ".ray" / "auth_token"
    try:
        _private_token(path)
    except OSError as error:
        logger.warning(
            "%s: cannot be used (%s); the token of this program's cluster is not stored", path, error.strerror
        )
        os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)


def _private_token(path: Path) -> None:
    """Create a token file that other users cannot read, unlike the file that Ray creates."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        _create(path, secrets.token_hex(32))
    path.chmod(0o600)
    path.read_bytes()


def _create(path: Path, content: str) -> None:
    """Write a new private file atomically, unless another program has created it in the meantime."""
    descriptor, name = tempfile.mkstemp(dir=path.parent)  # mode 600
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(content)
        with suppress(FileExistsError):
            path.hardlink_to(name)
    finally:
        Path(name).unlink()


def prepare_worker() -> None:
    """Set the variables of every process, here and in the workers of a cluster that was started elsewhere."""
    for name, value in SETTINGS.items():
        os.environ.setdefault(name, value)


RUNTIME_ENV: dict[str, Any] = {"worker_process_setup_hook": f"{__name__}.{prepare_worker.__name__}"}
"""Option `runtime_env` of `ray.init`: runs `prepare_worker` in every worker process of a cluster that is joined.

The processes of a cluster that is started here inherit the variables. Without a runtime environment they start faster.
"""

"""Ray's settings, made before Ray is imported: it reads them only then. What the user has set stays.

Authentication is explicit: where the user has not set RAY_AUTH_MODE, a cluster started here demands a token, kept in a
file that only the user can read; and it cannot be reached from another machine.
"""

from __future__ import annotations

import os
import secrets
from pathlib import Path

SETTINGS = {
    "RAY_worker_niceness": "0",  # Ray's default of nice 15 starves beside other work
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.5",  # a report to Ray Train lasts as long as this poll (default 2 s)
    "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "120",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",  # checkpoints before the first evaluation have no score
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # our own writers are the only ones
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # Ctrl-C ends the program instead of a pass of the scheduler
    "RAY_AIR_NEW_OUTPUT": "0",  # our own progress display is the only one
    "RAY_worker_maximum_startup_concurrency": "16",
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
}


def apply() -> None:
    """Set what the user has not set."""
    for name, value in SETTINGS.items():
        os.environ.setdefault(name, value)
    if "RAY_ADDRESS" not in os.environ:  # a machine of one's own is not taken away: one process less a trial
        os.environ.setdefault("RAY_TRAIN_ENABLE_PREEMPTION_WATCHER", "0")
        # One machine's cluster listens on loopback only. Ray has this for systems on which it builds no clusters, and
        # looks at no system but only at this name; it turns an address 127.0.0.1 that it is given into a public one.
        os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
    if "RAY_AUTH_MODE" not in os.environ:
        os.environ["RAY_AUTH_MODE"] = "token"
        if not {"RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"} & set(os.environ):
            _private_token(Path.home() / ".ray" / "auth_token")


def _private_token(path: Path) -> None:
    """A token file that nobody else can read; Ray's own would be readable by all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(secrets.token_hex(32))
    path.chmod(0o600)


def name_own_cluster() -> None:
    """Run in every worker process: Ray Train's cleaner asks "the" cluster of the machine for a trial's state, and gives
    up where two run side by side - its placement group then stays, and the next trial waits for ever."""
    import ray

    os.environ["RAY_ADDRESS"] = ray.get_runtime_context().gcs_address

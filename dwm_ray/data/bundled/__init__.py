"""Small recordings that come with the package, so that everything runs without a download. See README.md here."""

from __future__ import annotations

from pathlib import Path

from dwm_ray.tasks.table import TASK_NAMES

SOURCE = "bundled SAC recording (not D4RL's)"
FOLDER = Path(__file__).parent


def find(task: str) -> Path | None:
    """The bundled recording of a task: FOLDER/<task with underscores>-<how it was made>.hdf5."""
    return next(iter(sorted(FOLDER.glob(f"{task.replace('-', '_')}-*.hdf5"))), None)


def tasks() -> list[str]:
    """The tasks that have one."""
    return [task for task in TASK_NAMES if find(task) is not None]

"""Small recordings in the package, so that everything runs without downloads; see README.md in this folder."""

from pathlib import Path

from dwm_ray.tasks.table import TASK_NAMES

SOURCE = "bundled SAC recording (not D4RL's)"
FOLDER = Path(__file__).parent


def find(task: str) -> Path | None:
    """Return the bundled recording of a task, FOLDER/<task with underscores>-<origin>.hdf5, or None."""
    return next(iter(sorted(FOLDER.glob(f"{task.replace('-', '_')}-*.hdf5"))), None)


def tasks() -> list[str]:
    """Return the tasks with a bundled recording."""
    return [task for task in TASK_NAMES if find(task) is not None]

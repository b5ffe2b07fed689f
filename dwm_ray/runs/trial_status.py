"""Change the status of trials from other processes than their own, with or without remote storage."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dwm_ray.runs.folder import RunFolder, set_status, status_of
from dwm_ray.runs.row_log import read_rows

ENDED = ("done", "failed")
FAILURE = "failure.txt"


def reset_failed(run: RunFolder, trials: Iterable[str]) -> None:
    """Reset the status of failed trials, so that they run again."""
    for folder in map(run.trial, trials):
        with _changing(folder, run):
            if status_of(folder) == "failed":
                set_status(folder, "pending")


def record_end(folder: Path, run: RunFolder, status: str, message: str | None = None, **more: Any) -> None:
    """Write the status of a trial that is neither done nor failed, and the message of its failure to `failure.txt`."""
    with _changing(folder, run):
        if status_of(folder) not in ENDED:
            set_status(folder, status, **more, **_progress(folder))
            if message is not None:
                (folder / FAILURE).write_text(message, encoding="utf-8")


@contextmanager
def _changing(folder: Path, run: RunFolder) -> Iterator[None]:
    """Fetch a trial's folder; upload its status and failure message after the context has changed them."""
    with run.writing(folder / FAILURE, folder / "status.json"):
        run.pull(folder)
        yield


def _progress(folder: Path) -> dict[str, Any]:
    """Return the updates and seconds that a trial has logged."""
    rows = read_rows(folder / "metrics.jsonl")
    return {"updates": rows[-1]["update"], "seconds": rows[-1]["seconds"]} if rows else {"updates": 0, "seconds": 0.0}

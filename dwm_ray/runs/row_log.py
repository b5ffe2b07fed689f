"""Append-only JSON-lines files: one JSON object per row."""

import json
from pathlib import Path
from typing import Any, TextIO

from dwm_ray.runs.files import write_atomically

TAIL_BYTES = 65_536
"""Bytes read at the end of a log to get its last rows."""


class RowLog:
    """JSON-lines file whose rows have a field `update`; opening it removes the rows after `resume_at`."""

    def __init__(self, path: Path, resume_at: int = 0) -> None:
        self.path = path
        rows = [row for row in read_rows(path) if row["update"] <= resume_at]
        write_atomically(path, "".join(json.dumps(row) + "\n" for row in rows))

    def append(self, row: dict[str, Any]) -> None:
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")


def read_rows(path: Path) -> list[dict[str, Any]]:
    """Return all complete rows, or [] without a file; a truncated last row is ignored."""
    return _parsed(path, path.read_bytes().splitlines(keepends=True)) if path.exists() else []


def last_rows(path: Path, max_rows: int) -> list[dict[str, Any]]:
    """Return up to `max_rows` complete rows from the end of a JSON-lines file."""
    if not path.is_file():
        return []
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(max(0, size - TAIL_BYTES))
        lines = file.read().splitlines(keepends=True)
    if size > TAIL_BYTES:
        lines = lines[1:]  # the first one is truncated
    return _parsed(path, lines)[-max_rows:]


def _parsed(path: Path, lines: list[bytes]) -> list[dict[str, Any]]:
    """Return the complete rows; raise ValueError naming the file for other text."""
    try:
        return [json.loads(line) for line in lines if line.endswith(b"\n") and line.strip()]
    except ValueError as error:
        raise ValueError(f"{path}: expected one JSON object per line ({error})") from error


def open_for_appending(path: Path) -> TextIO:
    """Open or create a JSON-lines file for appending; remove a truncated last row."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+b") as file:
        file.seek(0)
        file.truncate(file.read().rfind(b"\n") + 1)
    return path.open("a", encoding="utf-8")

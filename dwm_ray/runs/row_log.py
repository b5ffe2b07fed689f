"""JSON-lines files: one JSON object per row, append-only."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, TextIO


class RowLog:
    """A JSON-lines file whose rows carry the `update` they belong to."""

    def __init__(self, path: Path, resume_at: int = 0) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        kept = [row for row in read_rows(path) if row["update"] <= resume_at]
        part = path.with_name(path.name + ".part")
        part.write_text("".join(json.dumps(row) + "\n" for row in kept))
        part.replace(path)

    def append(self, row: dict[str, Any]) -> None:
        with self.path.open("a") as file:
            file.write(json.dumps(row) + "\n")


def read_rows(path: Path) -> list[dict[str, Any]]:
    """All whole rows of a JSON-lines file; [] where there is none. A half-written last row is passed over."""
    if not path.exists():
        return []
    lines = path.read_text().splitlines(keepends=True)
    return [json.loads(line) for line in lines if line.endswith("\n") and line.strip()]


def open_to_append(path: Path) -> TextIO:
    """A JSON-lines file, made where there is none; a half-written last row is cut off: the next stands alone."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+b") as file:
        file.seek(0)
        file.truncate(file.read().rfind(b"\n") + 1)
    return path.open("a")

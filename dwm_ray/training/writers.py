"""Metrics on disk: one JSON line a row, and the same numbers for TensorBoard.

The only place that turns metrics into files. A writer that is opened again after a crash drops the rows beyond the
checkpoint that the run goes on from, so that no update stands there twice. A crash may leave half of a last row behind
and nothing worse.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TextIO

from torch.utils.tensorboard import SummaryWriter


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


class MetricsWriter:
    """`metrics.jsonl`, `evaluations.jsonl` and `tensorboard/` of one folder; `tell` hears of every row as well."""

    def __init__(
        self, folder: Path, resume_at: int = 0, tell: Callable[[dict[str, Any]], None] = lambda row: None
    ) -> None:
        self._tell = tell
        self._metrics = RowLog(folder / "metrics.jsonl", resume_at)
        self._evaluations = RowLog(folder / "evaluations.jsonl", resume_at)
        self._board = SummaryWriter(str(folder / "tensorboard"), purge_step=resume_at or None)

    def metrics(self, update: int, values: dict[str, float]) -> None:
        self._metrics.append({"update": update, **values})
        self._scalars("learner", update, values)
        self._tell({"update": update, **values})

    def evaluation(self, update: int, values: dict[str, Any]) -> None:
        self._evaluations.append({"update": update, **values})
        self._scalars("evaluation", update, values)
        self._tell({"update": update, **values})

    def _scalars(self, group: str, update: int, values: dict[str, Any]) -> None:
        for name, value in values.items():
            if isinstance(value, int | float):
                self._board.add_scalar(f"{group}/{name}", value, update)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._board.close()

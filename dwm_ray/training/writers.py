"""Metrics on disk: one JSON line a row, and the same numbers for TensorBoard.

The only place that turns metrics into files. A writer that is opened again after a crash drops the rows beyond the
checkpoint that the run goes on from, so that no update stands there twice. A crash may leave half of a last row behind
and nothing worse.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from torch.utils.tensorboard import SummaryWriter

from dwm_ray.runs.row_log import RowLog


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

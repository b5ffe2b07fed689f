"""Write metric rows of a trial or world model to JSON lines, TensorBoard and Weights & Biases.

A writer that is reopened after a crash drops the rows beyond the checkpoint, so that no update is logged twice.
"""

from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

from dwm_ray.config import RunConfig
from dwm_ray.errors import optional_module
from dwm_ray.runs.row_log import RowLog

LOGS = {"learner": "metrics", "evaluation": "evaluations"}
"""Kind of row -> name of its JSON-lines file."""


class Backend(Protocol):
    """A destination of metric rows."""

    def write(self, kind: str, row: dict[str, Any]) -> None:
        """Write one row of a kind of `LOGS`; `row["update"]` is its number of updates."""

    def close(self, failed: bool) -> None:
        """Finish after the last row; `failed` if an exception ended the run."""


class MetricsWriter:
    """Writer of metrics and evaluations of one folder; `on_row` also receives every row."""

    def __init__(
        self,
        folder: Path,
        resume_at: int = 0,
        on_row: Callable[[dict[str, Any]], None] = lambda row: None,
        config: RunConfig | None = None,
    ) -> None:
        self._on_row = on_row
        self._backends: list[Backend] = [JsonLines(folder, resume_at), TensorBoard(folder, resume_at)]
        if config is not None and config.execution.wandb is not None:
            self._backends.append(WeightsAndBiases(folder, config))

    def metrics(self, update: int, values: dict[str, float]) -> None:
        self._write("learner", {"update": update, **values})

    def evaluation(self, update: int, values: dict[str, Any]) -> None:
        self._write("evaluation", {"update": update, **values})

    def _write(self, kind: str, row: dict[str, Any]) -> None:
        for backend in self._backends:
            backend.write(kind, row)
        self._on_row(row)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        for backend in self._backends:
            backend.close(failed=kind is not None)


class JsonLines:
    """`metrics.jsonl` and `evaluations.jsonl`."""

    def __init__(self, folder: Path, resume_at: int) -> None:
        self._logs = {kind: RowLog(folder / f"{name}.jsonl", resume_at) for kind, name in LOGS.items()}

    def write(self, kind: str, row: dict[str, Any]) -> None:
        self._logs[kind].append(row)

    def close(self, failed: bool) -> None:
        pass


class TensorBoard:
    """Event files in `tensorboard/`."""

    def __init__(self, folder: Path, resume_at: int) -> None:
        from tensorboardX import SummaryWriter  # a slow import, which most processes do not need

        self._board = SummaryWriter(str(folder / "tensorboard"), purge_step=resume_at or None)

    def write(self, kind: str, row: dict[str, Any]) -> None:
        for name, value in _scalars(kind, row).items():
            self._board.add_scalar(name, value, row["update"])

    def close(self, failed: bool) -> None:
        self._board.close()


class WeightsAndBiases:
    """One Weights & Biases run per folder, grouped by run folder; a resumed trial continues its W&B run."""

    def __init__(self, folder: Path, config: RunConfig) -> None:
        group = folder.parent.parent.name
        self._run = wandb_module().init(
            project=config.execution.wandb,
            group=group,
            job_type=folder.parent.name,
            name=folder.name,
            id=f"{group}-{folder.name}",
            config=config.model_dump(mode="json"),
            dir=str(folder),
            resume="allow",
            reinit="create_new",  # the members of a population have one W&B run each in one process
        )

    def write(self, kind: str, row: dict[str, Any]) -> None:
        self._run.log(_scalars(kind, row), step=row["update"])

    def close(self, failed: bool) -> None:
        self._run.finish(exit_code=int(failed))


def wandb_module() -> Any:
    """Return Weights & Biases; raise ValueError if it is not installed."""
    return optional_module("wandb", "execution.wandb", "wandb")


def _scalars(kind: str, row: dict[str, Any]) -> dict[str, float]:
    values = {name: value for name, value in row.items() if name != "update"}
    return {f"{kind}/{name}": value for name, value in values.items() if isinstance(value, int | float)}

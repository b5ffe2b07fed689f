"""What a run is doing, read from its folder: a live display in a terminal, plain lines elsewhere.

Reading the folder costs the run nothing and works from any process; `dwm_ray` writes rows of metrics as it goes.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.live import Live
from rich.table import Table

from dwm_ray.run_folder import RunFolder, read_json
from dwm_ray.training.writers import read_rows

LIVE_S = 1.0
PLAIN_S = 30.0


class Watch:
    """Shows a run folder's progress while the work goes on in the same process; a context manager."""

    def __init__(self, run: RunFolder, num_trials: int, console: Console, every_look: Callable[[], None]) -> None:
        self._run, self._num_trials, self._console = run, num_trials, console
        self._every_look = every_look
        self._started = time.perf_counter()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._loop, name="progress", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()

    def _loop(self) -> None:
        if self._console.is_terminal:
            with Live(console=self._console, refresh_per_second=2, transient=True) as live:
                while not self._stop.wait(LIVE_S):
                    self._every_look()
                    live.update(self._table())
        else:
            while not self._stop.wait(PLAIN_S):
                self._every_look()
                self._console.print(self._line(), highlight=False)

    def _table(self) -> Table:
        table = Table(title=self._line(), title_justify="left", box=None, pad_edge=False)
        for column in ("", "name", "progress", "score", "updates/s"):
            table.add_column(column)
        for row in [*self._models(), *self._running()]:
            table.add_row(*row)
        return table

    def _line(self) -> str:
        states = [str((read_json(t / "status.json") or {}).get("status", "pending")) for t in self._run.trials()]
        done, running, failed = (
            states.count("done") + states.count("stopped"),
            states.count("running"),
            states.count("failed"),
        )
        models = [f"world model {name} {share}" for _, name, share, *_ in self._models()]
        text = f"[{time.perf_counter() - self._started:5.0f} s] trials: {done} of {self._num_trials} done, {running} running"
        parts = [text + (f", {failed} failed" if failed else ""), *models]
        if not self._console.is_terminal:
            parts += [f"{name}: {share}" for _, name, share, *_ in self._running()]
        return "; ".join(parts)

    def _models(self) -> list[tuple[str, str, str, str, str]]:
        folders = [f for f in (self._run.root / "world_models").glob("*") if not (f / "status.json").exists()]
        return [("model", folder.name, _last(folder, "holdout_loss"), "", "") for folder in folders]

    def _running(self) -> list[tuple[str, str, str, str, str]]:
        folders = [t for t in self._run.trials() if (read_json(t / "status.json") or {}).get("status") == "running"]
        return [
            ("trial", folder.name, _last(folder, "q_mean"), _score(folder), _number(folder, "updates_per_s"))
            for folder in folders
        ]


def _row(folder: Path) -> dict[str, Any]:
    rows = read_rows(folder / "metrics.jsonl")
    return rows[-1] if rows else {}


def _last(folder: Path, metric: str) -> str:
    row = _row(folder)
    return f"update {row['update']}, {metric} {row.get(metric, float('nan')):.3g}" if row else "starting"


def _number(folder: Path, metric: str) -> str:
    value = _row(folder).get(metric)
    return "" if value is None else f"{value:.0f}"


def _score(folder: Path) -> str:
    rows = read_rows(folder / "evaluations.jsonl")
    return f"{rows[-1]['score_mean']:.1f}" if rows else ""

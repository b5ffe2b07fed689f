"""What a run is doing, read from its folder: bars in a terminal, a plain line every half minute elsewhere.

Reading the folder costs the run nothing, works from any process and shows what would be there after a crash.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from dwm_ray.run_folder import RunFolder, read_json, status_of
from dwm_ray.training.writers import read_rows

LOOK_S = 1.0
LINE_S = 30.0


@dataclass(frozen=True)
class Activity:
    """One thing that goes on: a world model in training or a trial in learning."""

    name: str
    done: int
    total: int
    detail: str


class Watch:
    """Shows a run folder's progress while the work goes on in the same process; a context manager."""

    def __init__(self, run: RunFolder, num_trials: int, console: Console, every_look: Callable[[], None]) -> None:
        self._run, self._num_trials, self._console, self._every_look = run, num_trials, console, every_look
        self._options: dict[str, Any] = read_json(run.config)["run"]
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
        if not self._console.is_terminal:
            while not self._stop.wait(LINE_S):
                self._every_look()
                self._console.print(self._line(), highlight=False, soft_wrap=True)
            return
        with _bars(self._console) as progress:
            bars = _Bars(progress, self._num_trials)
            while not self._stop.wait(LOOK_S):
                self._every_look()
                bars.show(self._counts(), self._activities())

    def _line(self) -> str:
        counts = self._counts()
        seconds = time.perf_counter() - self._started
        head = f"[{seconds:5.0f} s] {counts['finished']} of {self._num_trials} trials finished"
        failed = f" ({counts['failed']} failed)" if counts["failed"] else ""
        parts = [f"{act.name} {100 * act.done // act.total} % ({act.detail})" for act in self._activities()]
        return "; ".join([head + failed, *parts])

    def _counts(self) -> dict[str, int]:
        states = [status_of(folder) for folder in self._run.trials()]
        return {
            "finished": sum(state in ("done", "stopped", "failed") for state in states),
            "failed": states.count("failed"),
        }

    def _activities(self) -> list[Activity]:
        models = [f for f in (self._run.root / "world_models").glob("*") if not (f / "status.json").is_file()]
        trials = [f for f in self._run.trials() if status_of(f) == "running"]
        model_total = (self._options["world_model"] or {}).get("num_updates", 1)
        return [
            *(_activity(f, f"world model {f.name[:8]}", model_total, "holdout_loss") for f in models),
            *(_activity(f, f"trial {f.name}", self._options["training"]["num_updates"], "q_mean") for f in trials),
        ]


def _activity(folder: Path, name: str, total: int, metric: str) -> Activity:
    rows, scores = read_rows(folder / "metrics.jsonl"), read_rows(folder / "evaluations.jsonl")
    row = rows[-1] if rows else {"update": 0}
    parts = [f"{metric} {row[metric]:.3g}"] if metric in row else ["starting"]
    parts += [f"score {scores[-1]['score_mean']:.1f}"] if scores else []
    parts += [f"{row['updates_per_s']:.0f} updates/s"] if "updates_per_s" in row else []
    return Activity(name, row["update"], max(total, row["update"]), ", ".join(parts))


def _bars(console: Console) -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[detail]}"))
    return Progress(*columns, TimeElapsedColumn(), console=console, transient=True)


class _Bars:
    """One bar for all trials, and one for each thing that goes on."""

    def __init__(self, progress: Progress, num_trials: int) -> None:
        self._progress = progress
        self._all = progress.add_task("trials", total=num_trials, detail="")
        self._tasks: dict[str, TaskID] = {}

    def show(self, counts: dict[str, int], activities: list[Activity]) -> None:
        failed = f"{counts['failed']} failed" if counts["failed"] else ""
        self._progress.update(self._all, completed=counts["finished"], detail=failed)
        for name in set(self._tasks) - {act.name for act in activities}:
            self._progress.remove_task(self._tasks.pop(name))
        for act in activities:
            if act.name not in self._tasks:
                self._tasks[act.name] = self._progress.add_task(act.name, total=act.total, detail="")
            self._progress.update(self._tasks[act.name], completed=act.done, detail=act.detail)

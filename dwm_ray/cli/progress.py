"""What a run is doing, read from its folder: bars in a terminal, a plain line every half minute elsewhere.

Reading the folder costs the run nothing, works from any process and shows what would be there after a crash.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from threading import Event
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from dwm_ray.experiment.run_state import OVER, RunState, TrialState, look
from dwm_ray.runs.background import in_background
from dwm_ray.runs.folder import RunFolder

LOOK_S = 1.0
LINE_S = 30.0
MOST_SHOWN = 6
"""Activities by name: the members of a population all go on at once."""


@dataclass(frozen=True)
class Activity:
    """One thing that goes on: a world model in training or a trial in learning."""

    name: str
    done: int
    total: int | None
    """None where nothing tells how many updates there will be."""
    detail: str

    @staticmethod
    def of(name: str, row: dict[str, Any], total: int | None, detail: str) -> Activity:
        done = int(row.get("update", 0))
        return Activity(name, done, None if total is None else max(total, done), detail)

    @property
    def share(self) -> str:
        return f"{self.done} updates" if self.total is None else f"{100 * self.done // self.total} %"


def watched(
    run: RunFolder, num_trials: int, console: Console, every_look: Callable[[], None]
) -> AbstractContextManager[None]:
    """Shows a run folder's progress while the work goes on in the same process."""
    started = time.perf_counter()

    def lines(stop: Event) -> None:
        while not stop.wait(LINE_S):
            every_look()
            seconds = time.perf_counter() - started
            console.print(line(look(run), num_trials, seconds), highlight=False, soft_wrap=True)

    def bars(stop: Event) -> None:
        with _bars(console) as progress:
            shown = _Bars(progress, num_trials)
            while not stop.wait(LOOK_S):
                every_look()
                shown.show(look(run))

    return in_background("progress", bars if console.is_terminal else lines)


def line(state: RunState, num_trials: int, seconds: float) -> str:
    """All that goes on, on one line."""
    failed = f" ({state.count('failed')} failed)" if state.count("failed") else ""
    head = f"[{seconds:5.0f} s] {state.count(*OVER)} of {num_trials} trials finished{failed}"
    acts = activities(state)
    shown = [f"{act.name} {act.share} ({act.detail})" for act in acts[:MOST_SHOWN]]
    more = [f"and {len(acts) - MOST_SHOWN} more"] if len(acts) > MOST_SHOWN else []
    return "; ".join([head, *shown, *more])


def activities(state: RunState) -> list[Activity]:
    """World models in training, then trials in learning."""
    models = [model for model in state.models if not model.trained]
    trials = [trial for trial in state.trials if trial.status == "running"]
    return [
        *(
            Activity.of(f"world model {m.folder.name[:8]}", m.row, m.total, _detail(m.row, "holdout_loss"))
            for m in models
        ),
        *(Activity.of(f"trial {t.folder.name}", t.row, t.total, _trial_detail(t)) for t in trials),
    ]


def _trial_detail(trial: TrialState) -> str:
    score = [f"score {trial.evaluation['score_mean']:.1f}"] if trial.evaluation else []
    rate = [f"{trial.row['updates_per_s']:.0f} updates/s"] if "updates_per_s" in trial.row else []
    return ", ".join([_detail(trial.row, "q_mean"), *score, *rate])


def _detail(row: dict[str, Any], metric: str) -> str:
    return f"{metric} {row[metric]:.3g}" if metric in row else "starting"


def _bars(console: Console) -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[detail]}"))
    return Progress(*columns, TimeElapsedColumn(), console=console, transient=True)


class _Bars:
    """One bar for all trials, and one for each thing that goes on."""

    def __init__(self, progress: Progress, num_trials: int) -> None:
        self._progress = progress
        self._all = progress.add_task("trials", total=num_trials, detail="")
        self._tasks: dict[str, TaskID] = {}

    def show(self, state: RunState) -> None:
        failed = f"{state.count('failed')} failed" if state.count("failed") else ""
        self._progress.update(self._all, completed=state.count(*OVER), detail=failed)
        now = activities(state)[:MOST_SHOWN]
        for name in set(self._tasks) - {act.name for act in now}:
            self._progress.remove_task(self._tasks.pop(name))
        for act in now:
            if act.name not in self._tasks:
                self._tasks[act.name] = self._progress.add_task(act.name, total=act.total, detail="")
            self._progress.update(self._tasks[act.name], completed=act.done, detail=act.detail)

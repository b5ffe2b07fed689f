"""Progress display of a running program: bars in a terminal, otherwise one line every 30 seconds."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from threading import Event

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TextColumn, TimeElapsedColumn

from dwm_ray.experiment.phases import Phase, phases_of, total_of
from dwm_ray.experiment.run_state import ENDED, RunState, read_state
from dwm_ray.report.table import format_seconds
from dwm_ray.runs.background import in_background
from dwm_ray.runs.folder import RunFolder

REFRESH_S = 1.0
LINE_S = 30.0
PATIENCE_S = 5.0
"""Seconds to wait for a refresh at the end: that of a cluster which is gone does not return for a minute."""
MAX_SHOWN = 6
"""Phases that are shown by name; all members of a population run at once."""


def watched(
    run: RunFolder, num_trials: int, console: Console, on_refresh: Callable[[], None]
) -> AbstractContextManager[None]:
    """Show the progress of a run while the context is open; `on_refresh` is called before each read of the folder."""
    started = time.perf_counter()

    def lines(stop: Event) -> None:
        while not stop.wait(LINE_S):
            on_refresh()
            seconds = time.perf_counter() - started
            console.print(line(read_state(run), num_trials, seconds), highlight=False, soft_wrap=True)

    def bars(stop: Event) -> None:
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            TaskProgressColumn(),
            TextColumn("{task.fields[note]}"),
        )
        with Progress(*columns, TimeElapsedColumn(), console=console, transient=True) as progress:
            shown = _Bars(progress, num_trials)
            while not stop.wait(REFRESH_S):
                on_refresh()
                shown.show(read_state(run))

    return in_background("progress", bars if console.is_terminal else lines, PATIENCE_S)


def line(state: RunState, num_trials: int, seconds: float) -> str:
    """Return the progress of the whole run and of its running phases on one line."""
    phases = phases_of(state)
    running = [phase for phase in phases if phase.running]
    shown = [f"{_title(phase)} {percent(phase.fraction)} ({_note(phase)})" for phase in running[:MAX_SHOWN]]
    more = [f"and {len(running) - MAX_SHOWN} more"] if len(running) > MAX_SHOWN else []
    return "; ".join([f"[{seconds:5.0f} s] {summary(state, num_trials)}", *shown, *more])


def summary(state: RunState, num_trials: int) -> str:
    """Return percent, remaining time and finished trials of the whole run."""
    total = total_of(phases_of(state), num_trials)
    failed = f" ({state.count('failed')} failed)" if state.count("failed") else ""
    time_left = "remaining time unknown" if total.remaining_s is None else f"{format_seconds(total.remaining_s)} left"
    return f"{percent(total.fraction)}, {time_left}; {state.count(*ENDED)} of {num_trials} trials finished{failed}"


def percent(fraction: float | None) -> str:
    return "- %" if fraction is None else f"{100 * fraction:.0f} %"


def _title(phase: Phase) -> str:
    return f"{phase.kind} {phase.name[:10]}"


def _note(phase: Phase) -> str:
    left = [] if phase.remaining_s is None else [f"{format_seconds(phase.remaining_s)} left"]
    return ", ".join([*left, phase.detail])


class _Bars:
    """One bar for the whole run, and one for each running phase."""

    def __init__(self, progress: Progress, num_trials: int) -> None:
        self._progress, self._num_trials = progress, num_trials
        self._total = progress.add_task("all", total=1.0, note="")
        self._tasks: dict[str, TaskID] = {}

    def show(self, state: RunState) -> None:
        phases = phases_of(state)
        note = summary(state, self._num_trials).partition(", ")[2]
        self._progress.update(self._total, completed=total_of(phases, self._num_trials).fraction, note=note)
        running = {_title(phase): phase for phase in phases if phase.running}
        shown = dict(list(running.items())[:MAX_SHOWN])
        for title in set(self._tasks) - set(shown):
            self._progress.remove_task(self._tasks.pop(title))
        for title, phase in shown.items():
            if title not in self._tasks:
                self._tasks[title] = self._progress.add_task(title, total=None, note="")
            total = None if phase.fraction is None else 1.0
            self._progress.update(self._tasks[title], completed=phase.fraction or 0.0, total=total, note=_note(phase))

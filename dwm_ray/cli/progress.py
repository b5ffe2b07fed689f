"""Progress display of a running program: bars in a terminal, otherwise one line every 30 seconds."""

import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from threading import Event

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TextColumn, TimeElapsedColumn

from dwm_ray.experiment.phases import Group, Phase, grouped, phases_of
from dwm_ray.experiment.remaining import END_S, Resources, RunProgress, estimate_progress
from dwm_ray.experiment.run_state import ENDED, RunState, read_state
from dwm_ray.report.table import format_seconds
from dwm_ray.runs.background import in_background
from dwm_ray.runs.folder import RunFolder

REFRESH_S = 1.0
FAILURES_S = 5.0
"""Seconds between two checks for failures if no bars are shown."""
LINE_S = 30.0
PATIENCE_S = 5.0
"""Seconds to wait for a refresh at the end; if the cluster is gone, a refresh takes a minute."""
MAX_SHOWN = 12
"""Maximum number of groups of phases with a separate bar; running groups come first."""


def show_progress(
    run: RunFolder, num_trials: int, console: Console, on_refresh: Callable[[], None]
) -> AbstractContextManager[None]:
    """Show the progress of a run while the context is open; `on_refresh` is called before each read of the folder."""
    start, failures = time.perf_counter(), Failures(console)

    def current() -> RunState:
        on_refresh()
        state = read_state(run)
        failures.show(state)
        return state

    def lines(stop: Event) -> None:
        shown = time.perf_counter()
        while not stop.wait(FAILURES_S):
            state, now = current(), time.perf_counter()
            if now - shown >= LINE_S:
                shown = now
                console.print(line(state, num_trials, now - start), highlight=False, soft_wrap=True)

    def bars(stop: Event) -> None:
        columns = (
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TaskProgressColumn(),
            TextColumn("{task.fields[note]}"),
        )
        with Progress(*columns, TimeElapsedColumn(), console=console, transient=True) as progress:
            shown = Bars(progress, num_trials)
            while not stop.wait(REFRESH_S):
                shown.show(current())

    return in_background("progress", bars if console.is_terminal else lines, PATIENCE_S)


class Failures:
    """Printer of failed trials, each once and as soon as it has failed, except those of earlier sessions."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._known: set[str] | None = None

    def show(self, state: RunState) -> None:
        failed = {trial.folder.name: trial.error for trial in state.trials if trial.status == "failed"}
        for name in failed.keys() - (failed if self._known is None else self._known):
            message = f"trial {name} failed: {failed[name]}"
            self._console.print(message, style="red", highlight=False, soft_wrap=True, markup=False)
        self._known = set(failed)


def line(state: RunState, num_trials: int, seconds: float) -> str:
    """Return the progress of the whole run and of its running phases on one line."""
    running = [group for group in grouped(phases_of(state)) if group.running]
    shown = [f"{heading(group)} {percent(group.fraction)} ({note(group)})" for group in running[:MAX_SHOWN]]
    more = [f"and {len(running) - MAX_SHOWN} more"] if len(running) > MAX_SHOWN else []
    return "; ".join([f"[{seconds:5.0f} s] {summary(state, num_trials)}", *shown, *more])


def summary(state: RunState, num_trials: int, progress: RunProgress | None = None) -> str:
    """Return percent, remaining time and finished trials of the whole run."""
    progress = progress or run_progress(state, phases_of(state), num_trials)
    failed = f" ({state.count('failed')} failed)" if state.count("failed") else ""
    time_left = (
        "remaining time unknown" if progress.remaining_s is None else f"{format_seconds(progress.remaining_s)} left"
    )
    return f"{percent(progress.fraction)}, {time_left}; {state.count(*ENDED)} of {num_trials} trials finished{failed}"


def run_progress(state: RunState, phases: Sequence[Phase], num_trials: int) -> RunProgress:
    """Return the progress of the whole run from its phases."""
    end_s = 0.0 if state.concluded else END_S
    return estimate_progress(phases, num_trials, Resources(state.processes, state.cpus, state.start_s, end_s))


def percent(fraction: float | None) -> str:
    return "- %" if fraction is None else f"{100 * fraction:.0f} %"


def note(group: Group) -> str:
    """Return remaining time, speed and latest scores of a group."""
    remaining = [] if group.remaining_s is None else [f"{format_seconds(group.remaining_s)} left"]
    unit = "rows/s" if group.kind == "stream" else "updates/s"
    rate = [] if group.rate is None else [f"{group.rate:.0f} {unit}"]
    score = [f"{group.phases[0].score_name} {np.mean(group.scores):.1f}"] if group.scores else []
    return ", ".join([*remaining, *rate, *score]) or ("starting" if group.running else "")


def heading(group: Group) -> str:
    """Return the label of a group and the number of its phases."""
    return group.label if len(group.phases) == 1 else f"{group.label} x {len(group.phases)}"


class Bars:
    """One bar for the whole run, and one for each group of phases."""

    def __init__(self, progress: Progress, num_trials: int) -> None:
        self._progress, self._num_trials = progress, num_trials
        self._total = progress.add_task("all", total=1.0, note="")
        self._tasks: dict[str, TaskID] = {}

    def show(self, state: RunState) -> None:
        phases = phases_of(state)
        total = run_progress(state, phases, self._num_trials)
        note_text = summary(state, self._num_trials, total).partition(", ")[2]
        self._progress.update(self._total, completed=total.fraction, note=note_text)
        groups = sorted(grouped(phases), key=lambda group: not group.running)[:MAX_SHOWN]
        shown = {heading(group): group for group in groups}
        for title in set(self._tasks) - set(shown):
            self._progress.remove_task(self._tasks.pop(title))
        for title, group in shown.items():
            if title not in self._tasks:
                self._tasks[title] = self._progress.add_task(title, total=None, note="")
            end = None if group.fraction is None else 1.0
            self._progress.update(self._tasks[title], completed=group.fraction or 0.0, total=end, note=note(group))

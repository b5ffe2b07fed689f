"""Watch a run from its folder: trials, world models, streams, counters, failures; of this machine's run or another's.

In a terminal the view is drawn again every few seconds, elsewhere a line is printed every half minute. The program
ends with the run: code 0 when its results are written, 1 when no trial is left and none came. Only the folder, or the
storage that the run is kept in, is read.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Annotated

import tyro
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from dwm_ray.cli.command_line import main_guard
from dwm_ray.cli.progress import LINE_S, line
from dwm_ray.experiment.names import method_name
from dwm_ray.experiment.run_state import ModelState, RunState, StreamState, TrialState, last_rows, look
from dwm_ray.experiment.search_space import describe
from dwm_ray.report.table import NOTHING, format_count, format_seconds
from dwm_ray.runs.folder import RunFolder, read_json

VIEW_S = 3.0
QUIET_S = 90.0
"""A run without a change for this long, whose driver would have written its counters three times, is not at work."""
STATUSES = {"running": "bold", "failed": "red", "done": "green", "stopped": "yellow", "pending": "dim"}
"""In the order in which trials are listed."""
LOG_ROWS = 5
MOST_CAUSES = 4
"""Causes of failures on a screen that is drawn again and again."""


def watch(
    run: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")],
    once: bool = False,
    failed: bool = False,
    trial: str | None = None,
    every_s: float | None = None,
) -> int:
    """Watch RUN.

    Args:
        run: Run folder, or address in a storage.
        once: Print one view, with every trial, and end.
        failed: Show why the trial that failed last did: cause, last rows of its log, end of its traceback; and end.
        trial: The trial to show in that way, by its id.
        every_s: Seconds between two looks; 3 in a terminal, 30 elsewhere if not given.
    """
    if every_s is not None and every_s <= 0:
        raise ValueError(f"--every-s {every_s:g}: expected a positive number of seconds")
    folder, console = RunFolder.open(run), Console()
    fetch = folder.pull if "://" in run else (lambda: None)  # a folder here is kept up to date by its driver
    if failed or trial:
        console.print(failure(look(folder), trial, console.height))
        return 0
    if once:
        console.print(overview(folder, look(folder)))
        return 0
    return follow(folder, console, every_s, fetch)


def follow(run: RunFolder, console: Console, every_s: float | None, fetch: Callable[[], None]) -> int:
    """Show the run until it is over, then its last view."""
    if console.is_terminal:
        with Live(console=console, screen=True, auto_refresh=False) as live:
            state = until_over(
                run, every_s or VIEW_S, lambda now: live.update(overview(run, now, console.height), refresh=True), fetch
            )
    else:
        started = time.perf_counter()

        def show(now: RunState) -> None:
            print(line(now, len(now.trials), time.perf_counter() - started), flush=True)

        state = until_over(run, every_s or LINE_S, show, fetch)
    console.print(overview(run, state))
    if not state.concluded:
        hint = f"the run ended without results; `pipelines/watch.py {run.where} --failed` says more"
        console.print(hint, soft_wrap=True)
    return 0 if state.concluded else 1


def until_over(
    run: RunFolder, every_s: float, show: Callable[[RunState], None], fetch: Callable[[], None] = lambda: None
) -> RunState:
    """Look and show until results are written, or no trial is left and the driver gives no sign of life."""
    while True:
        fetch()
        state = look(run)
        show(state)
        if state.concluded or (state.over and age(state) > QUIET_S):
            return state
        time.sleep(every_s)


def age(state: RunState) -> float:
    """Seconds since the last change, as far as the clocks of the two machines agree."""
    return max(0.0, time.time() - state.changed)


def overview(run: RunFolder, state: RunState, height: int | None = None) -> RenderableType:
    """The whole run; with `height`, as much of its trials as fits a screen of so many lines."""
    counters = "; ".join(f"{name.replace('_', ' ')} {format_count(count)}" for name, count in state.counters.items())
    return Group(
        heading(run, state),
        *trials_part(state, height),
        *([models_table(state.models)] if state.models else []),
        *([streams_table(state.streams)] if state.streams else []),
        Text(counters),
    )


def trials_part(state: RunState, height: int | None) -> list[RenderableType]:
    """Trials, how many there are beyond these, and why trials failed; all where no height bounds them."""
    shown, failed = in_order(state.trials), [trial for trial in state.trials if trial.status == "failed"]
    if height is not None:
        failed = failed[-MOST_CAUSES:]
        others = sum(1 + len(group) for group in (state.models, state.streams) if group)
        shown = shown[: max(3, height - others - len(failed) - 8)]  # 8: the lines around the tables
    hidden = len(state.trials) - len(shown)
    more = [Text(f"and {hidden} more trials (--once shows all)", style="dim")] if hidden else []
    return [trials_table(shown), *more, *(Text(f"{t.folder.name} failed: {t.error}", style="red") for t in failed)]


def heading(run: RunFolder, state: RunState) -> Text:
    record = read_json(run.config)
    counts = ", ".join(f"{state.count(name)} {name}" for name in STATUSES if state.count(name)) or "none yet"
    when = "results are written" if state.concluded else f"last change {format_seconds(age(state))} ago"
    quiet = " - it may have been stopped" if not state.concluded and age(state) > QUIET_S else ""
    first = f"{record['run'].get('task', NOTHING)}, profile {record.get('profile', NOTHING)}: {run.root}"
    return Text(f"{first}\n{len(state.trials)} trials: {counts}; {when}{quiet}")


def in_order(trials: list[TrialState]) -> list[TrialState]:
    """Those at work first, then by status as above, then by score."""
    ranks = {name: rank for rank, name in enumerate(STATUSES)}
    return sorted(trials, key=lambda t: (ranks[t.status], -t.evaluation.get("score_mean", 0.0), t.folder.name))


def trials_table(trials: list[TrialState]) -> Table:
    table = grid(
        "trial", "method", "point", "status", "updates", "", "upd/s", "score", "q mean", "stale", "waits", left=4
    )
    for trial in trials:
        row, point = trial.row, {name: value for name, value in trial.values.items() if name != "seed"}
        seed = f" seed={trial.config['seed']}" if "seed" in trial.config else ""
        table.add_row(
            trial.folder.name,
            method_name(trial.config) if "agent" in trial.config else NOTHING,
            f"{describe(point)}{seed}".strip(),
            trial.status,
            format_count(trial.update),
            number(trial.update / trial.total, ".0%"),
            number(row.get("updates_per_s"), ".0f"),
            number(trial.evaluation.get("score_mean"), ".1f"),
            number(row.get("q_mean"), ".4g"),
            number(row.get("staleness"), ".0f"),
            number(trial.waiting_share, ".0%"),
            style=STATUSES[trial.status],
        )
    return table


def models_table(models: list[ModelState]) -> Table:
    table = grid("world model", "plug-in", "status", "updates", "", "upd/s", "loss", "holdout", left=3)
    for model in models:
        update = model.row.get("update", 0)
        rate = update / model.row["seconds"] if model.row.get("seconds") else None
        table.add_row(
            model.folder.name,
            model.name or NOTHING,
            "trained" if model.trained else "training",
            format_count(update),
            number(update / model.total if model.total else None, ".0%"),
            number(rate, ".0f"),
            number(model.row.get("loss"), ".4g"),
            number(model.row.get("holdout_loss"), ".4g"),
            style="green" if model.trained else "bold",
        )
    return table


def streams_table(streams: list[StreamState]) -> Table:
    table = grid("stream", "target RTG", "status", "blocks", "rows", "rows/s", left=3)
    for stream in streams:
        spec = stream.spec
        table.add_row(
            stream.folder.name,
            NOTHING if spec is None else f"{spec.target_rtg:g}",
            "complete" if stream.complete else "growing",
            f"{stream.blocks}" if spec is None else f"{stream.blocks} of {spec.num_blocks}",
            format_count(stream.rows),
            number(stream.rows_per_s, ".0f"),
            style="green" if stream.complete else "bold",
        )
    return table


def failure(state: RunState, trial_id: str | None, height: int) -> RenderableType:
    """Why a trial failed, on one screen of so many lines. ValueError for a trial that is not there."""
    failed = [trial for trial in state.trials if trial.status == "failed"]
    failed.sort(key=lambda trial: (trial.folder / "status.json").stat().st_mtime)
    chosen = [trial for trial in state.trials if trial.folder.name == trial_id] if trial_id else failed[-1:]
    if trial_id and not chosen:
        raise ValueError(f"--trial {trial_id}: this run has {', '.join(t.folder.name for t in state.trials) or 'none'}")
    if not chosen:
        return Text("no trial of this run has failed")
    [trial] = chosen
    others = [t for t in failed if t is not trial][-5:]
    traceback = trial.folder / "failure.txt"
    lines = traceback.read_text().rstrip().splitlines() if traceback.is_file() else []
    room = max(10, height - len(others) - 8)
    name = method_name(trial.config) if "agent" in trial.config else NOTHING
    parts: list[RenderableType] = [
        Text(f"{trial.folder}\n{name} {describe(trial.values)}: {trial.status} after {trial.update} updates"),
        Text(trial.error or "no cause was recorded", style="red"),
        log_table(last_rows(trial.folder / "metrics.jsonl", LOG_ROWS), room // 2 if lines else room),
        *(Text(text, style="dim") for text in lines[-(room // 2) :]),
        *(Text(f"also failed: {t.folder.name}: {t.error}", no_wrap=True, overflow="ellipsis") for t in others),
    ]
    return Group(*parts)


def log_table(rows: list[dict[str, float]], most: int) -> RenderableType:
    """The last rows of a log side by side, each metric a line; at most so many metrics."""
    if not rows:
        return Text("its log has no row: it failed before the first", style="dim")
    table = grid("update", *(f"{row['update']}" for row in rows))
    for name in [name for name in rows[-1] if name != "update"][:most]:
        table.add_row(name, *(number(row.get(name), ".4g") for row in rows))
    return table


def grid(*headers: str, left: int = 1) -> Table:
    """A table without lines; the first columns are words, the others numbers."""
    table = Table(box=None, padding=(0, 1, 0, 0), header_style="underline")
    for place, header in enumerate(headers):
        table.add_column(header, justify="left" if place < left else "right", no_wrap=True)
    return table


def number(value: float | None, layout: str) -> str:
    return NOTHING if value is None else format(value, layout)


@main_guard
def main(argv: list[str] | None = None) -> int:
    return tyro.cli(watch, args=sys.argv[1:] if argv is None else argv, description=__doc__)


if __name__ == "__main__":
    sys.exit(main())

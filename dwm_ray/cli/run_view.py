"""Views of the state of a run for a terminal: an overview, and the cause of a failure."""

import time
from typing import Any

from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from dwm_ray.cli.progress import heading, note, percent, summary
from dwm_ray.evaluation.evaluators import ranked, ranked_name
from dwm_ray.experiment.names import method_name
from dwm_ray.experiment.phases import Phase, grouped, model_phase, phases_of, stream_phase, trial_phase
from dwm_ray.experiment.run_state import ModelState, RunState, StreamState, TrialState
from dwm_ray.experiment.search_space import describe
from dwm_ray.report.table import NOTHING, format_count, format_seconds
from dwm_ray.runs.folder import RunFolder, read_json
from dwm_ray.runs.row_log import last_rows

QUIET_S = 90.0
"""Seconds without a change after which a run may have stopped; a driver writes its counters every 30 seconds."""
STATUSES = {"running": "bold", "failed": "red", "done": "green", "stopped": "yellow", "pending": "dim"}
"""Style of each status, in listing order."""
LOG_ROWS = 5
MAX_CAUSES = 4
"""Maximum number of failure causes on a refreshed screen."""


def age(state: RunState) -> float:
    """Return the seconds since the last change, assuming synchronised clocks."""
    return max(0.0, time.time() - state.changed)


def overview(run: RunFolder, state: RunState, height: int | None = None) -> RenderableType:
    """Return an overview of the run; with `height`, limit the trials to a screen of `height` lines."""
    counters = "; ".join(f"{name.replace('_', ' ')} {format_count(count)}" for name, count in state.counters.items())
    return Group(
        _heading(run, state),
        _phases_table(state),
        *_trials(state, height),
        *([_models_table(state.models)] if state.models else []),
        *([_streams_table(state.streams)] if state.streams else []),
        Text(counters),
    )


def _heading(run: RunFolder, state: RunState) -> Text:
    record = read_json(run.config)
    counts = ", ".join(f"{state.count(name)} {name}" for name in STATUSES if state.count(name)) or "none yet"
    when = "results are written" if state.concluded else f"last change {format_seconds(age(state))} ago"
    quiet = " - it may have stopped" if not state.concluded and age(state) > QUIET_S else ""
    first = f"{record['run'].get('task', NOTHING)}, profile {record.get('profile', NOTHING)}: {run.root}"
    return Text(f"{first}\n{summary(state, state.num_trials)}\n{state.num_trials} trials: {counts}; {when}{quiet}")


def _phases_table(state: RunState) -> Table:
    """Return the phases of the run as the running program shows them."""
    table = _grid("phase", "", "", "", left=4)
    for group in grouped(phases_of(state)):
        bar = ProgressBar(completed=100 * (group.fraction or 0.0), width=24)
        table.add_row(heading(group), bar, percent(group.fraction), note(group))
    return table


def _trials(state: RunState, height: int | None) -> list[RenderableType]:
    """Return the table of trials, the number of hidden ones, and the causes of failures."""
    shown, failed = _in_order(state.trials), [trial for trial in state.trials if trial.status == "failed"]
    if height is not None:
        failed = failed[-MAX_CAUSES:]
        other_lines = sum(1 + len(group) for group in (grouped(phases_of(state)), state.models, state.streams) if group)
        shown = shown[: max(3, height - other_lines - len(failed) - 9)]  # 9: the lines around the tables
    hidden = len(state.trials) - len(shown)
    more = [Text(f"and {hidden} more trials (--once shows all)", style="dim")] if hidden else []
    return [_trials_table(shown), *more, *(Text(f"{t.folder.name} failed: {t.error}", style="red") for t in failed)]


def _in_order(trials: list[TrialState]) -> list[TrialState]:
    ranks = {name: rank for rank, name in enumerate(STATUSES)}
    return sorted(trials, key=lambda t: (ranks[t.status], -(ranked(t.evaluation) or 0.0), t.folder.name))


def _trials_table(trials: list[TrialState]) -> Table:
    headers = ("trial", "method", "point", "status", "updates", "", "left", "upd/s")
    value = next((ranked_name(trial.evaluation) for trial in trials if trial.evaluation), "score")
    table = _grid(*headers, value, "q mean", "stale", "waits", left=4)
    for trial in trials:
        row, point = trial.row, {name: value for name, value in trial.values.items() if name != "seed"}
        seed = f" seed={trial.config['seed']}" if "seed" in trial.config else ""
        table.add_row(
            trial.folder.name,
            _method(trial),
            f"{describe(point)}{seed}".strip(),
            trial.status,
            format_count(trial.update),
            _number(trial.update / trial.total, ".0%"),
            format_seconds(trial_phase(trial).remaining_s),
            _number(row.get("updates_per_s"), ".0f"),
            _number(ranked(trial.evaluation), ".1f"),
            _number(row.get("q_mean"), ".4g"),
            _number(row.get("staleness"), ".0f"),
            _number(trial.waiting_fraction, ".0%"),
            style=STATUSES[trial.status],
        )
    return table


def _models_table(models: list[ModelState]) -> Table:
    table = _grid("world model", "plug-in", "status", "updates", "", "left", "upd/s", "loss", "holdout", left=3)
    for model in models:
        phase, seconds = model_phase(model), model.row.get("seconds")
        table.add_row(
            model.folder.name,
            model.name or NOTHING,
            "trained" if model.trained else "training",
            format_count(phase.done),
            *_progress(phase),
            _number(phase.done / seconds if seconds else None, ".0f"),
            _number(model.row.get("loss"), ".4g"),
            _number(model.row.get("holdout_loss"), ".4g"),
            style="green" if model.trained else "bold",
        )
    return table


def _streams_table(streams: list[StreamState]) -> Table:
    table = _grid("stream", "target RTG", "status", "blocks", "", "left", "rows", "rows/s", left=3)
    for stream in streams:
        table.add_row(
            stream.folder.name,
            NOTHING if stream.spec is None else str(stream.spec.target_rtg),
            "complete" if stream.complete else "growing",
            f"{stream.blocks}" if stream.spec is None else f"{stream.blocks} of {stream.spec.num_blocks}",
            *_progress(stream_phase(stream)),
            format_count(stream.rows),
            _number(stream.rows_per_s, ".0f"),
            style="green" if stream.complete else "bold",
        )
    return table


def _progress(phase: Phase) -> tuple[str, str]:
    return _number(phase.fraction, ".0%"), format_seconds(phase.remaining_s)


def failure(state: RunState, trial_id: str | None, height: int) -> RenderableType:
    """Return the cause of the last failure, or of one trial's, in `height` lines; raise ValueError for unknown ids."""
    failed = [trial for trial in state.trials if trial.status == "failed"]
    failed.sort(key=lambda trial: (trial.folder / "status.json").stat().st_mtime)
    matches = [trial for trial in state.trials if trial.folder.name == trial_id] if trial_id else failed[-1:]
    if trial_id and not matches:
        raise ValueError(
            f"--trial {trial_id}: unknown; expected one of {', '.join(t.folder.name for t in state.trials) or 'none'}"
        )
    if not matches:
        return Text("no trial of this run has failed")
    [trial] = matches
    other_failures = [t for t in failed if t is not trial][-5:]
    traceback = trial.folder / "failure.txt"
    lines = traceback.read_text(encoding="utf-8").rstrip().splitlines() if traceback.is_file() else []
    room = max(10, height - len(other_failures) - 8)
    heading = f"{_method(trial)} {describe(trial.values)}: {trial.status} after {trial.update} updates"
    return Group(
        Text(f"{trial.folder}\n{heading}"),
        Text(trial.error or "no cause was recorded", style="red"),
        _log_table(last_rows(trial.folder / "metrics.jsonl", LOG_ROWS), room // 2 if lines else room),
        *(Text(traceback_line, style="dim") for traceback_line in lines[-(room // 2) :]),
        *(Text(f"also failed: {t.folder.name}: {t.error}", no_wrap=True, overflow="ellipsis") for t in other_failures),
    )


def _log_table(rows: list[dict[str, Any]], max_metrics: int) -> RenderableType:
    """Return the last rows of a log, with one column per row and at most `max_metrics` metrics."""
    if not rows:
        return Text("the log is empty: the trial failed before its first row", style="dim")
    table = _grid("update", *(f"{row['update']}" for row in rows))
    for name in [name for name in rows[-1] if name != "update"][:max_metrics]:
        table.add_row(name, *(_number(row.get(name), ".4g") for row in rows))
    return table


def _method(trial: TrialState) -> str:
    return method_name(trial.config) if "agent" in trial.config else NOTHING


def _grid(*headers: str, left: int = 1) -> Table:
    """Return a table without lines; the first `left` columns are left-aligned."""
    table = Table(box=None, padding=(0, 1, 0, 0), header_style="underline")
    for column, header in enumerate(headers):
        table.add_column(header, justify="left" if column < left else "right", no_wrap=True)
    return table


def _number(value: float | None, layout: str) -> str:
    return NOTHING if value is None else format(value, layout)

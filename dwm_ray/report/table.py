"""One row per trial, the same for the terminal and for the page; the best finished trial is marked.

Searched axes beyond horizon and target_rtg get a column each. Model-free trials have no horizon: their cells are empty.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from rich import box
from rich.table import Table

NOTHING = "–"
LABELS = {"target_rtg": "target RTG"}


@dataclass(frozen=True)
class Row:
    """Cells of a trial, in the order of the headers."""

    cells: list[str]
    status: str
    best: bool
    error: str | None


def dimensions(trials: list[dict[str, Any]]) -> list[str]:
    """Names of what sets trials apart: horizon and target_rtg first, then the other searched axes as they come."""
    found = dict.fromkeys(name for trial in trials for name in trial["values"])
    fixed = ["horizon", "target_rtg"]
    return fixed + [name for name in found if name not in fixed]


def label(dimension: str) -> str:
    """Printed name of a searched axis."""
    return LABELS.get(dimension) or dimension.replace("_", " ")


def result_rows(results: dict[str, Any]) -> tuple[list[str], list[Row]]:
    """(headers, rows): best score first, unfinished trials last."""
    axes = dimensions(results["trials"])
    best = (results["best"] or {}).get("id")
    trials = sorted(results["trials"], key=lambda t: (t["score_mean"] is None, -(t["score_mean"] or 0.0), t["id"]))
    headers = ["method", "agent", *map(label, axes), *(name for name, _ in COLUMNS)]
    return headers, [_row(trial, axes, trial["id"] == best) for trial in trials]


def result_table(results: dict[str, Any]) -> Table:
    """The rows for a terminal; a star and bold type mark the best trial, dim type what has not finished.

    Columns that the title or the method tell as well are left out, so that the table fits 80 characters.
    """
    headers, rows = result_rows(results)
    shown = [i for i, header in enumerate(headers) if header not in ("agent", "checkpoint")]
    table = Table(
        title=f"{results['task']}: score of the last checkpoint", title_justify="left", box=box.SIMPLE_HEAD, padding=0
    )
    table.add_column("")
    for i in shown:
        table.add_column(headers[i].replace(" ", "\n", 1), justify="left" if i == 0 else "right", no_wrap=True)
    for row in rows:
        style = "bold green" if row.best else "dim" if row.status != "done" else None
        table.add_row("*" if row.best else "", *(row.cells[i] for i in shown), style=style)
    return table


def format_score(mean: float | None, std: float | None) -> str:
    """'36.1 ± 2.0', or a dash where there is no score yet."""
    return NOTHING if mean is None else f"{mean:.1f} ± {std or 0.0:.1f}"


def format_count(count: int | None) -> str:
    """'500 000', with thin no-break spaces."""
    return NOTHING if count is None else f"{count:,}".replace(",", "\u202f")


def format_seconds(seconds: float | None) -> str:
    """'42 s', '12 min', '3.5 h'."""
    if seconds is None:
        return NOTHING
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def markdown_table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return rows of cells as a Markdown table."""
    lines = [headers, ["---"] * len(headers), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


COLUMNS: list[tuple[str, Callable[[dict[str, Any]], str]]] = [
    ("seed", lambda trial: str(trial["seed"])),
    ("score ± std", lambda trial: format_score(trial["score_mean"], trial["score_std"])),
    ("episodes", lambda trial: format_count(trial["episodes"])),
    ("updates", lambda trial: format_count(trial["updates"])),
    ("checkpoint", lambda trial: trial["checkpoint"]),
    ("time", lambda trial: format_seconds(trial["seconds"])),
    ("status", lambda trial: trial["status"]),
]
"""What every table shows of a trial besides its method and searched axes."""


def _row(trial: dict[str, Any], axes: list[str], best: bool) -> Row:
    values = [NOTHING if axis not in trial["values"] else f"{trial['values'][axis]}" for axis in axes]
    cells = [trial["method"], trial["agent"], *values, *(cell(trial) for _, cell in COLUMNS)]
    return Row(cells, trial["status"], best, trial["error"])

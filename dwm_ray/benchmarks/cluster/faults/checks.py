"""Progress and row accounting of a run folder during faults, and outcomes of faults.

Rows are checked against evidence that does not depend on the journal: the files of the blocks.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from dwm_ray.blocks.journal import FILE, Journal, total_counters
from dwm_ray.runs.folder import read_json, status_of
from dwm_ray.runs.row_log import read_rows

COUNTED = ("segments_sampled", "segments_dropped", "segments_consumed")


def statuses(run: Path) -> dict[str, str]:
    return {trial.name: status_of(trial) for trial in sorted((run / "trials").glob("*"))}


def with_status(run: Path, status: str) -> list[str]:
    return [name for name, trial_status in statuses(run).items() if trial_status == status]


def updates(run: Path) -> dict[str, int]:
    """Return {trial: last update in its log}."""
    logs = {path.parent.name: read_rows(path) for path in sorted((run / "trials").glob("*/metrics.jsonl"))}
    return {name: rows[-1]["update"] if rows else 0 for name, rows in logs.items()}


def restarts(run: Path, since: float) -> list[tuple[str, int, float]]:
    """Return (trial, update from which it resumed, time) of the learners that have started since a time."""
    result = []
    for path in sorted((run / "trials").glob("*/status.json")):
        status, start = read_json(path) or {}, path.stat().st_mtime
        if start > since and status.get("status") == "running":
            result.append((path.parent.name, status["updates"], start))
    return result


def blocks(run: Path, since: float = 0.0) -> list[dict[str, Any]]:
    """Return the journal lines of the blocks of all streams that arrived after a time, in order of arrival."""
    lines = [row for path in run.glob(f"streams/*/{FILE}") for row in read_rows(path) if "block" in row]
    return sorted((line for line in lines if line["time"] > since), key=lambda line: line["time"])


def readers(run: Path) -> set[str]:
    """Return the cursors of all readers so far."""
    return {name for path in run.glob(f"streams/*/{FILE}") for name in Journal(path.parent).consumed}


def rows_exact(run: Path) -> bool:
    """Return whether, for every stream, rows generated = rows on disk + rows dropped, and no reader received more rows
    than there are.

    An interrupted stream may have blocks on disk that are not in its journal; the next session finds them. Without
    interrupted streams, the counters of the run must equal the totals of the journals.
    """
    folders = [path.parent for path in run.glob(f"streams/*/{FILE}")]
    journals = {folder: Journal(folder) for folder in folders}
    if not all(_exact(folder, journal) for folder, journal in journals.items()):
        return False
    expected = total_counters(journals.values())
    counted = json.loads((run / "counters.json").read_text(encoding="utf-8"))
    complete = all(_complete(folder) for folder in folders)
    return all(counted[name] == expected[name] if complete else counted[name] <= expected[name] for name in COUNTED)


def _exact(folder: Path, journal: Journal) -> bool:
    files = {int(path.stem.removeprefix("block-")): path for path in folder.glob("block-*.parquet")}
    stored = {index: pq.read_metadata(path).num_rows for index, path in files.items()}
    unrecorded = stored.keys() - journal.accepted.keys()
    recorded = {index: rows for index, rows in stored.items() if index not in unrecorded}
    if journal.accepted != recorded or (unrecorded and _complete(folder)):
        return False
    available = sum(recorded.values())
    return journal.generated == available + journal.dropped and max(journal.consumed.values(), default=0) <= available


def _complete(folder: Path) -> bool:
    return read_json(folder / "stream.json") is not None


HEADERS = ("fault", "response", "downtime", "lost", "rows accounted for", "leftovers", "passed")
WORDS = {True: "yes", False: "NO", None: "–"}


@dataclass(frozen=True)
class Outcome:
    """Outcome of a fault."""

    fault: str
    response: str
    """Reaction of the sweep."""
    downtime_s: float | None = None
    """Seconds until the affected process works again; None if nothing was interrupted."""
    lost: str = "–"
    exact: bool | None = None
    """Whether every row is accounted for; None without generated rows."""
    leftovers: tuple[str, ...] = ()
    """Actors, placement groups and processes that still exist but should not."""
    passed: bool | None = False
    """Whether the response agrees with the documentation; None if the fault was not injected."""

    @staticmethod
    def not_run(fault: str, reason: str) -> Outcome:
        """Return the row of a fault that cannot be injected on this machine."""
        return Outcome(fault, f"not run: {reason}", passed=None)

    def cells(self) -> list[str]:
        """Return the cells of the table row."""
        downtime = "–" if self.downtime_s is None else f"{self.downtime_s:.1f} s"
        leftovers = "–" if self.passed is None else ", ".join(self.leftovers) or "none"
        return [self.fault, self.response, downtime, self.lost, WORDS[self.exact], leftovers, WORDS[self.passed]]

"""What a run folder says of a fault: how far learners are, which blocks came when, whether every row is accounted for.

Rows are checked against witnesses that know nothing of the account: the blocks' files, and the options of the stream.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from dwm_ray.blocks.journal import FILE, Journal, totals
from dwm_ray.runs.folder import read_json
from dwm_ray.runs.row_log import read_rows

COUNTED = ("segments_sampled", "segments_dropped", "segments_consumed")


def statuses(run: Path) -> dict[str, str]:
    """Trial -> status."""
    found = {path.name: read_json(path / "status.json") for path in sorted((run / "trials").glob("*"))}
    return {name: (status or {"status": "pending"})["status"] for name, status in found.items()}


def running(run: Path) -> list[str]:
    return [name for name, status in statuses(run).items() if status == "running"]


def updates(run: Path) -> dict[str, int]:
    """Trial -> last update in its log."""
    logs = {path.parent.name: read_rows(path) for path in sorted((run / "trials").glob("*/metrics.jsonl"))}
    return {name: rows[-1]["update"] if rows else 0 for name, rows in logs.items()}


@dataclass(frozen=True)
class Restart:
    """A learner's start, as its trial's folder tells it."""

    trial: str
    update: int
    """Where it went on from."""
    at: float


def starts(run: Path, since: float) -> list[Restart]:
    """Learners that have started since."""
    found = []
    for path in sorted((run / "trials").glob("*/status.json")):
        status, at = read_json(path) or {}, path.stat().st_mtime
        if at > since and status.get("status") == "running":
            found.append(Restart(path.parent.name, status["updates"], at))
    return found


def draws(run: Path) -> list[dict[str, Any]]:
    """Blocks in the order of their arrival, of all streams."""
    lines = [row for path in run.glob(f"streams/*/{FILE}") for row in read_rows(path) if "block" in row]
    return sorted(lines, key=lambda line: line["time"])


def cursors(run: Path) -> set[str]:
    """All that ever read."""
    return {name for path in run.glob(f"streams/*/{FILE}") for name in Journal(path.parent).consumed}


def longest_gap(times: list[float]) -> float:
    """Between neighbours."""
    return max((after - before for before, after in pairwise(times)), default=0.0)


def rows_exact(run: Path) -> bool:
    """Of every stream: drawn = on disk + dropped, and nobody was handed more than there is. A stream that was cut off
    may have blocks on disk that its account has not been told of: the next session finds them. Where no stream was cut
    off, the run's counters are what the accounts say."""
    folders = [path.parent for path in run.glob(f"streams/*/{FILE}")]
    accounts = {folder: Journal(folder) for folder in folders}
    if not all(_exact(folder, account) for folder, account in accounts.items()):
        return False
    now, seen = totals(list(accounts.values())), json.loads((run / "counters.json").read_text())
    whole = all(_whole(folder) for folder in folders)
    return all(seen[name] == now[name] if whole else seen[name] <= now[name] for name in COUNTED)


def _exact(folder: Path, account: Journal) -> bool:
    on_disk = {_index(path): pq.read_metadata(path).num_rows for path in folder.glob("block-*.parquet")}
    untold = on_disk.keys() - account.kept.keys()
    told = {index: rows for index, rows in on_disk.items() if index not in untold}
    if account.kept != told or (untold and _whole(folder)):
        return False
    most = sum(told.values())
    return account.drawn == most + account.dropped and max(account.consumed.values(), default=0) <= most


def _whole(folder: Path) -> bool:
    return read_json(folder / "stream.json") is not None


def _index(path: Path) -> int:
    return int(path.stem.removeprefix("block-"))

"""Journal of a stream: one line per generated block and per read, in `streams/FINGERPRINT/journal.jsonl`.

Only the process that owns the stream writes the journal: the buffer, or a run in one process. Each line is written
before the event takes effect. A restarted owner or a later session therefore accounts for every row: generated =
accepted + dropped, and the rows delivered to each cursor. If the owner dies before it writes the line of a stored
block, the next session records that block as `found`, which counts as generated. A block is not counted if its sampler
became unreachable and another sampler generated the block again.

    {"block": 3, "rows": 4096, "accepted": true, "seconds": 0.4, "cpu_s": 0.4, "sampler": "sampler-0", ...}
    {"block": 4, "rows": 4096, "accepted": true, "found": true, ...}
    {"restored": 8192}                                rows stored before this session
    {"cursor": "a1b2-c3", "position": 5, "rows": 20480, "open": true}
"""

import json
import logging
import time
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, TextIO
from uuid import uuid4

from dwm_ray.runs.row_log import open_for_appending, read_rows

FILE = "journal.jsonl"
logger = logging.getLogger(__name__)


class Journal:
    """Totals of a stream over all sessions, read from the file and written with every event."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / FILE
        self._file: TextIO | None = None
        self._pending: list[str] = []
        self.accepted: dict[int, int] = {}
        """Block -> rows, in the order of arrival."""
        self.generated = self.dropped = self.restored = self.oom_splits = 0
        self.seconds = 0.0
        self.consumed: dict[str, int] = {}
        """Cursor -> rows delivered to it."""
        self.positions: dict[str, int] = {}
        """Open cursor -> blocks delivered to it."""
        for line in read_rows(self._path):
            self._add(line)

    def record_block(self, block: int, rows: int, accepted: bool, **details: Any) -> None:
        """Record a generated block; `accepted` is False for a duplicate."""
        self._append({"block": block, "rows": rows, "accepted": accepted, **details, "time": time.time()})

    def reopen(self, stored: Mapping[int, int]) -> dict[int, int]:
        """Record the stored blocks {index: rows} of an opened stream; return them in order of arrival."""
        for index in sorted(stored.keys() - self.accepted.keys()):
            self.record_block(index, stored[index], accepted=True, found=True)
        if stored:
            self._append({"restored": sum(stored.values())})
        return {index: stored[index] for index in self.accepted if index in stored}

    def record_cursor(self, cursor: str, position: int, rows: int, is_open: bool = True) -> None:
        """Record that a cursor has received `position` blocks with `rows` rows in total."""
        self._append({"cursor": cursor, "position": position, "rows": rows, "open": is_open})

    def _append(self, line: dict[str, Any]) -> None:
        self._add(line)
        self._pending.append(json.dumps(line) + "\n")
        try:
            self._write()
        except OSError as error:  # the line is written with the next one; accounting must not stop the run
            logger.warning("%s: cannot write (%s); %d lines are pending", self._path, error, len(self._pending))

    def _write(self) -> None:
        self._file = self._file or open_for_appending(self._path)
        self._file.write("".join(self._pending))
        self._file.flush()
        self._pending.clear()

    def _add(self, line: dict[str, Any]) -> None:
        if "block" in line:
            self._add_block(line)
        elif "cursor" in line:
            self.consumed[line["cursor"]] = line["rows"]
            self.positions[line["cursor"]] = line["position"]
            if not line["open"]:
                del self.positions[line["cursor"]]
        else:
            self.restored += line["restored"]

    def _add_block(self, line: dict[str, Any]) -> None:
        self.generated += line["rows"]
        self.seconds += line.get("seconds", 0.0)
        self.oom_splits += line.get("oom_splits", 0)
        if line["accepted"]:
            self.dropped += self.accepted.pop(line["block"], 0)  # the earlier file of this block was lost
            self.accepted[line["block"]] = line["rows"]
        else:
            self.dropped += line["rows"]


def new_cursor(trial: str) -> str:
    """Return a new cursor name; a restarted learner has an empty ring and reads from the first block."""
    return f"{trial}-{uuid4().hex[:8]}"


def load_journals(run: Path, owns: Callable[[str], bool] = lambda stream: True) -> dict[str, Journal]:
    """Load the journals in a run folder whose stream name satisfies `owns`, by stream name."""
    folders = [path.parent for path in sorted(run.glob(f"streams/*/{FILE}"))]
    return {folder.name: Journal(folder) for folder in folders if owns(folder.name)}


def total_counters(journals: Collection[Journal]) -> dict[str, int]:
    """Return the stream counters of `counters.json`."""
    return {
        "streams_generated": sum(journal.generated > 0 for journal in journals),
        "segments_sampled": sum(journal.generated for journal in journals),
        "segments_dropped": sum(journal.dropped for journal in journals),
        "segments_restored": sum(journal.restored for journal in journals),
        "segments_consumed": sum(sum(journal.consumed.values()) for journal in journals),
        "oom_splits": sum(journal.oom_splits for journal in journals),
    }

"""A stream's account: what was drawn for it and who read it, one line an event, in `streams/FINGERPRINT/journal.jsonl`.

Only the buffer writes it - without Ray the one process there is, as `local` - and before it acts on an event, so who
starts again after it - or a later session - finds every row accounted for: drawn = kept + dropped, and what was handed
to each cursor. A block that lies on disk without a line was drawn, and its line was lost with the process that was to
write it: it is `found`, and counts as drawn.
Not counted is a block that a sampler draws while it cannot be reached and another one has drawn since.

    {"block": 3, "rows": 4096, "kept": true, "seconds": 0.4, "cpu_s": 0.4, "sampler": "sampler-0", ...}
    {"block": 4, "rows": 4096, "kept": true, "found": true, ...}
    {"restored": 8192}                                so many rows were on disk at the start and not drawn again
    {"cursor": "a1b2-c3", "position": 5, "rows": 20480, "open": true}
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TextIO
from uuid import uuid4

from dwm_ray.runs.row_log import open_to_append, read_rows

LOG = logging.getLogger(__name__)
FILE = "journal.jsonl"


class Journal:
    """Totals over all sessions, read from the file and kept up to date with it."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / FILE
        self._file: TextIO | None = None
        self._unwritten: list[str] = []
        self.kept: dict[int, int] = {}
        """Block -> rows, in the order of their arrival."""
        self.drawn = self.dropped = self.restored = self.oom_splits = 0
        self.seconds = 0.0
        self.consumed: dict[str, int] = {}
        """Cursor -> rows handed to it."""
        self.positions: dict[str, int] = {}
        """Cursor -> blocks handed to it, of those that were not closed."""
        for line in read_rows(self._path):
            self._add(line)

    def drew(self, block: int, rows: int, kept: bool, **about: Any) -> None:
        """A block came in; `kept` is False where it was here already."""
        self._tell({"block": block, "rows": rows, "kept": kept, **about, "time": time.time()})

    def reopened(self, there: Mapping[int, int]) -> dict[int, int]:
        """The stream is opened and these blocks, index -> rows, lie on disk; they come back in the order of their
        arrival. Those that no line tells of were drawn all the same."""
        for index in sorted(there.keys() - self.kept.keys()):
            self.drew(index, there[index], kept=True, found=True)
        if there:
            self._tell({"restored": sum(there.values())})
        return {index: there[index] for index in self.kept if index in there}

    def read(self, cursor: str, position: int, rows: int, is_open: bool = True) -> None:
        """A cursor has been handed `position` blocks by now, `rows` rows in all."""
        self._tell({"cursor": cursor, "position": position, "rows": rows, "open": is_open})

    def _tell(self, line: dict[str, Any]) -> None:
        self._add(line)
        self._unwritten.append(json.dumps(line) + "\n")
        try:
            self._write()
        except OSError as error:  # kept, and written with the next line: counting must not stop what it counts
            LOG.warning("%s: cannot be written (%s); %d lines wait", self._path, error, len(self._unwritten))

    def _write(self) -> None:
        self._file = self._file or open_to_append(self._path)
        self._file.write("".join(self._unwritten))
        self._file.flush()
        self._unwritten.clear()

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
        self.drawn += line["rows"]
        self.seconds += line.get("seconds", 0.0)
        self.oom_splits += line.get("oom_splits", 0)
        if line["kept"]:
            self.dropped += self.kept.pop(line["block"], 0)  # it was there once, and its file has gone
            self.kept[line["block"]] = line["rows"]
        else:
            self.dropped += line["rows"]


def new_cursor(trial: str) -> str:
    """Name of a trial's cursor. A learner that starts again has an empty ring, and reads from the first block."""
    return f"{trial}-{uuid4().hex[:8]}"


def journals_of(run: Path, wanted: Callable[[str], bool] = lambda stream: True) -> dict[str, Journal]:
    """Those of the wanted streams in a run folder, by the stream's name."""
    folders = [path.parent for path in sorted(run.glob(f"streams/*/{FILE}"))]
    return {folder.name: Journal(folder) for folder in folders if wanted(folder.name)}


def totals(accounts: list[Journal]) -> dict[str, int]:
    """What `counters.json` says of streams."""
    return {
        "streams_generated": sum(account.drawn > 0 for account in accounts),
        "segments_sampled": sum(account.drawn for account in accounts),
        "segments_dropped": sum(account.dropped for account in accounts),
        "segments_restored": sum(account.restored for account in accounts),
        "segments_consumed": sum(sum(account.consumed.values()) for account in accounts),
        "oom_splits": sum(account.oom_splits for account in accounts),
    }

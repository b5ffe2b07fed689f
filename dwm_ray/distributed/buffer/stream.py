"""One stream inside the buffer: its ledger in memory and its journal on disk."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from dwm_ray.blocks import block_files
from dwm_ray.blocks.journal import Journal
from dwm_ray.blocks.ledger import Ledger
from dwm_ray.blocks.stream import StreamSpec
from dwm_ray.data.segment_rows import SegmentShape
from dwm_ray.runs.storage import StorageFailed

MAX_FAILURES = 5
"""Consecutive failures after which a stream fails and its readers receive the error."""
STORAGE_TIMEOUT_S = 60.0
"""Minimum time for which blocks are retried if the storage fails."""


@dataclass(frozen=True)
class Delivery:
    """Result of a fetch: blocks as (index, [reference to rows]), their shape, and whether the stream is finished."""

    blocks: list[tuple[int, list[Any]]]
    shape: SegmentShape | None
    complete: bool


@dataclass
class BufferedStream:
    """State of one stream in the buffer: its blocks, its readers and its journal."""

    run: block_files.Run
    spec: StreamSpec
    ledger: Ledger
    journal: Journal
    shape: SegmentShape | None = None
    failures: int = 0
    """Consecutive failures."""
    failing_since: float = 0.0
    error: str | None = None

    @staticmethod
    def load(run: block_files.Run, spec: StreamSpec, prefetch_limit: int, journal: Journal) -> BufferedStream:
        """Load a stream with the blocks that an earlier session or buffer process stored, in their order."""
        stream = BufferedStream(run, spec, Ledger(spec.num_blocks, prefetch_limit), journal)
        for index, rows in journal.reopen(block_files.stored_blocks(run, spec)).items():
            stream.ledger.restore(index, rows)
        if stream.ledger.arrived:
            stream.shape = block_files.read_shape(run, spec)
        if stream.ledger.complete:  # the session that completed it may have ended before it wrote the file
            stream.mark_complete()
        return stream

    @property
    def needs_block(self) -> bool:
        return self.error is None and self.ledger.needs_block

    def open_cursor(self, cursor: str) -> None:
        """Open a reader's cursor: a new one, or one known from before a restart."""
        if cursor not in self.ledger.cursors:
            self.ledger.open_cursor(cursor, self.journal.positions.get(cursor, 0))
            self.ledger.consumed.setdefault(cursor, self.journal.consumed.get(cursor, 0))

    def record_cursor(self, cursor: str, is_open: bool = True) -> None:
        """Write a cursor's position to the journal."""
        rows = self.ledger.consumed.get(cursor, 0)
        self.journal.record_cursor(cursor, self.ledger.cursors[cursor], rows, is_open)

    def accept(self, index: int, meta: dict[str, Any], sampler: str) -> bool:
        """Accept a sampler's block; return False for a duplicate."""
        self.failures, self.shape = 0, meta["shape"]
        costs = {name: meta[name] for name in ("seconds", "cpu_s", "oom_splits")}
        is_new = index not in self.ledger.rows
        self.journal.record_block(index, meta["rows"], accepted=is_new, **costs, sampler=sampler)
        return self.ledger.accept(index, meta["rows"])

    def sampler_died(self, index: int, stored_rows: int | None) -> None:
        """Accept a block that its sampler stored before it died (with `stored_rows`); otherwise release it."""
        if stored_rows is None or index in self.ledger.rows:
            self.ledger.release(index)
            return
        self.shape = self.shape or block_files.read_shape(self.run, self.spec)
        self.journal.record_block(index, stored_rows, accepted=True, found=True)
        self.ledger.accept(index, stored_rows)

    def sampler_failed(self, index: int, cause: BaseException) -> None:
        """Release a block whose generation failed; fail the stream after too many consecutive failures."""
        self.ledger.release(index)
        self.failures += 1
        self.failing_since = time.monotonic() if self.failures == 1 else self.failing_since
        is_storage_error = isinstance(cause, OSError | StorageFailed)
        retry = is_storage_error and time.monotonic() - self.failing_since < STORAGE_TIMEOUT_S
        if self.failures >= MAX_FAILURES and not retry:
            self.error = str(cause)

    def mark_complete(self) -> None:
        """Write `stream.json`."""
        block_files.mark_complete(self.run, self.spec, self.journal.seconds)

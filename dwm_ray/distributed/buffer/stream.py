"""One stream inside the buffer: its ledger in memory, its account on disk, and what a restart finds of both."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from dwm_ray.blocks import block_files
from dwm_ray.blocks.journal import Journal
from dwm_ray.blocks.ledger import Ledger
from dwm_ray.blocks.stream import StreamSpec
from dwm_ray.runs.storage import StorageFailed
from dwm_ray.types import SegmentShape

MOST_FAILURES = 5
"""Failures in a row after which a stream is given up and its readers are told why."""
STORAGE_PATIENCE_S = 60.0
"""But so long blocks are tried again where storage fails."""


@dataclass(frozen=True)
class Delivery:
    """What a fetch brings: blocks as (index, [ref to rows]), their shape, and whether that was all."""

    blocks: list[tuple[int, list[Any]]]
    shape: SegmentShape | None
    complete: bool


@dataclass
class Stream:
    """See the module."""

    run: block_files.Run
    spec: StreamSpec
    ledger: Ledger
    account: Journal
    shape: SegmentShape | None = None
    failures: int = 0
    """In a row."""
    failing_since: float = 0.0
    error: str | None = None

    @staticmethod
    def load(run: block_files.Run, spec: StreamSpec, lead: int, account: Journal) -> Stream:
        """With the blocks that an earlier session, or the buffer before it was killed, left on disk, in their order."""
        stream = Stream(run, spec, Ledger(spec.num_blocks, lead), account)
        for index, rows in account.reopened(block_files.blocks_on_disk(run, spec)).items():
            stream.ledger.restore(index, rows)
        if stream.ledger.arrived:
            stream.shape = block_files.read_shape(run, spec)
        stream.describe()
        return stream

    @property
    def wants_block(self) -> bool:
        return self.error is None and self.ledger.wants_block

    def open(self, cursor: str) -> None:
        """A reader comes: a new one, or one that the buffer before a restart knew."""
        if cursor not in self.ledger.cursors:
            self.ledger.open_cursor(cursor, self.account.positions.get(cursor, 0))
            self.ledger.consumed.setdefault(cursor, self.account.consumed.get(cursor, 0))

    def record(self, cursor: str, is_open: bool = True) -> None:
        """Write down where a cursor stands."""
        self.account.read(cursor, self.ledger.cursors[cursor], self.ledger.consumed.get(cursor, 0), is_open)

    def accept(self, index: int, meta: dict[str, Any], sampler: str) -> bool:
        """A sampler answered; False where the block was here already."""
        self.failures, self.shape = 0, meta["shape"]
        costs = {name: meta[name] for name in ("seconds", "cpu_s", "oom_splits")}
        self.account.drew(index, meta["rows"], kept=index not in self.ledger.rows, **costs, sampler=sampler)
        return self.ledger.accept(index, meta["rows"])

    def lost(self, index: int, rows: int | None) -> None:
        """A sampler died before it answered. A block that it had stored by then, of `rows` rows, was drawn; else it is
        wanted again."""
        if rows is None or index in self.ledger.rows:
            self.ledger.give_back(index)
            return
        self.shape = self.shape or block_files.read_shape(self.run, self.spec)
        self.account.drew(index, rows, kept=True, found=True)
        self.ledger.accept(index, rows)

    def failed(self, index: int, cause: BaseException) -> None:
        """A sampler could not draw or write a block. Storage that fails may come back; what else fails will again."""
        self.ledger.give_back(index)
        self.failures += 1
        self.failing_since = time.monotonic() if self.failures == 1 else self.failing_since
        hopeful = (
            isinstance(cause, OSError | StorageFailed) and time.monotonic() - self.failing_since < STORAGE_PATIENCE_S
        )
        if self.failures >= MOST_FAILURES and not hopeful:
            self.error = str(cause)

    def describe(self) -> None:
        """`stream.json`, once all blocks are there; the session that drew the last one may have ended before it."""
        if self.ledger.complete:
            block_files.write_end(self.run, self.spec, self.account.seconds)

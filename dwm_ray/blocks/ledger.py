"""A stream's ledger: which blocks are wanted, being drawn, accepted, and how far every cursor has read.

Pure bookkeeping without blocks, Ray or clocks, so that every row can be accounted for in a test: a block is accepted
once, whoever draws it and however often; blocks accepted are read by each cursor in the order of their arrival.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field


@dataclass
class Ledger:
    """One stream. `lead` bounds how many blocks may be accepted or in flight beyond the foremost cursor."""

    num_blocks: int
    lead: int
    arrived: list[int] = field(default_factory=list)
    rows: dict[int, int] = field(default_factory=dict)
    in_flight: set[int] = field(default_factory=set)
    cursors: dict[str, int] = field(default_factory=dict)
    foremost: int = 0
    """Where the cursor stands that read most."""
    consumed: dict[str, int] = field(default_factory=dict)
    """Rows handed to each cursor, those closed since included."""
    rows_accepted: int = 0
    rows_generated: int = 0
    rows_dropped: int = 0
    rows_consumed: int = 0

    def __post_init__(self) -> None:
        self._wanted = deque(range(self.num_blocks))

    @property
    def complete(self) -> bool:
        return len(self.arrived) == self.num_blocks

    def finished(self, cursor: str) -> bool:
        """Has the cursor read all that there will ever be?"""
        return self.complete and self.cursors[cursor] == self.num_blocks

    @property
    def ahead(self) -> int:
        """Blocks accepted or in flight beyond the foremost cursor."""
        return len(self.arrived) + len(self.in_flight) - self.foremost

    def restore(self, index: int, rows: int) -> None:
        """A block that an earlier session spilled: accepted without being drawn."""
        self._wanted.remove(index)
        self._arrive(index, rows)

    @property
    def wants_block(self) -> bool:
        """False while nobody reads, the lead is used up or nothing is left."""
        return bool(self._wanted) and bool(self.cursors) and self.ahead < self.lead

    def next_wanted(self) -> int | None:
        """Claim a block to draw, or None (see `wants_block`)."""
        if not self.wants_block:
            return None
        index = self._wanted.popleft()
        self.in_flight.add(index)
        return index

    def accept(self, index: int, rows: int) -> bool:
        """A drawn block came in; False (and counted as dropped) where it is here already."""
        self.rows_generated += rows
        self.in_flight.discard(index)
        if index in self.rows:
            self.rows_dropped += rows
            return False
        self._arrive(index, rows)
        return True

    def give_back(self, index: int) -> None:
        """The drawing of a block failed: it is wanted again, first."""
        self.in_flight.discard(index)
        if index not in self.rows:
            self._wanted.appendleft(index)

    def open_cursor(self, name: str, position: int = 0) -> None:
        """Start (or, after a learner's restart, start again) reading from the first block, or from where it stood."""
        self.close_cursor(name)
        self.cursors[name] = position
        self.foremost = max(self.foremost, position)

    def close_cursor(self, name: str) -> None:
        if self.cursors.pop(name, 0) == self.foremost:
            self.foremost = max(self.cursors.values(), default=0)

    def stand_at(self, name: str, position: int) -> None:
        """The reader says how many blocks it has: those handed out beyond them did not reach it and do not count."""
        self._move(name, min(position, len(self.arrived)))

    def take(self, name: str, most: int) -> list[int]:
        """Advance a cursor over up to `most` blocks; [] where nothing new has arrived."""
        position = self.cursors[name]
        taken = self.arrived[position : position + most]
        self._move(name, position + len(taken))
        return taken

    def _move(self, name: str, position: int) -> None:
        stood, self.cursors[name] = self.cursors[name], position
        blocks = self.arrived[min(stood, position) : max(stood, position)]
        rows = sum(self.rows[index] for index in blocks) * (1 if position > stood else -1)
        self.consumed[name] = self.consumed.get(name, 0) + rows
        self.rows_consumed += rows
        self.foremost = max(self.foremost, position) if position >= stood else max(self.cursors.values())

    def _arrive(self, index: int, rows: int) -> None:
        self.arrived.append(index)
        self.rows[index] = rows
        self.rows_accepted += rows

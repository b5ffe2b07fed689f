"""Ledger of a stream: which blocks are pending, being sampled or accepted, and the position of every cursor.

A block is accepted once, even if it is generated several times. Each cursor reads the accepted blocks in order of
arrival.
"""

from collections import deque
from dataclasses import dataclass, field


@dataclass
class Ledger:
    """Blocks of one stream that are accepted or being sampled, and the positions of its readers."""

    num_blocks: int
    prefetch_limit: int
    """Maximum number of blocks accepted or being sampled beyond the foremost cursor."""
    arrived: list[int] = field(default_factory=list)
    rows: dict[int, int] = field(default_factory=dict)
    in_flight: set[int] = field(default_factory=set)
    cursors: dict[str, int] = field(default_factory=dict)
    foremost: int = 0
    """Position of the cursor that has read the most blocks."""
    consumed: dict[str, int] = field(default_factory=dict)
    """Rows delivered to each cursor, including closed ones."""

    def __post_init__(self) -> None:
        self._pending = deque(range(self.num_blocks))

    @property
    def complete(self) -> bool:
        return len(self.arrived) == self.num_blocks

    def finished(self, cursor: str) -> bool:
        """Return whether a cursor has read the whole stream."""
        return self.complete and self.cursors[cursor] == self.num_blocks

    @property
    def ahead(self) -> int:
        """Number of blocks accepted or being sampled beyond the foremost cursor."""
        return len(self.arrived) + len(self.in_flight) - self.foremost

    @property
    def needs_block(self) -> bool:
        """Whether a block may be claimed: there is a reader, a missing block, and the prefetch limit is not reached."""
        return bool(self._pending) and bool(self.cursors) and self.ahead < self.prefetch_limit

    def restore(self, index: int, rows: int) -> None:
        """Accept a stored block without generating it."""
        self._pending.remove(index)
        self._arrive(index, rows)

    def claim(self) -> int | None:
        """Claim a block to generate, or return None if `needs_block` is False."""
        if not self.needs_block:
            return None
        index = self._pending.popleft()
        self.in_flight.add(index)
        return index

    def accept(self, index: int, rows: int) -> bool:
        """Accept a generated block; return False for a duplicate."""
        self.in_flight.discard(index)
        if index in self.rows:
            return False
        self._arrive(index, rows)
        return True

    def release(self, index: int) -> None:
        """Return a claimed block whose generation failed, so that it is claimed next."""
        self.in_flight.discard(index)
        if index not in self.rows:
            self._pending.appendleft(index)

    def open_cursor(self, name: str, position: int = 0) -> None:
        """Open a cursor, or open it again, at a position."""
        self.close_cursor(name)
        self.cursors[name] = position
        self.foremost = max(self.foremost, position)

    def close_cursor(self, name: str) -> None:
        if self.cursors.pop(name, 0) == self.foremost:
            self.foremost = max(self.cursors.values(), default=0)

    def reset_position(self, name: str, position: int) -> None:
        """Set a cursor to the number of blocks that its reader has received; later blocks are delivered again."""
        self._move(name, min(position, len(self.arrived)))

    def advance(self, name: str, max_blocks: int) -> list[int]:
        """Advance a cursor over up to `max_blocks` arrived blocks and return them."""
        position = self.cursors[name]
        taken = self.arrived[position : position + max_blocks]
        self._move(name, position + len(taken))
        return taken

    def _move(self, name: str, position: int) -> None:
        before, self.cursors[name] = self.cursors[name], position
        blocks = self.arrived[min(before, position) : max(before, position)]
        rows = sum(self.rows[index] for index in blocks) * (1 if position > before else -1)
        self.consumed[name] = self.consumed.get(name, 0) + rows
        self.foremost = max(self.foremost, position) if position >= before else max(self.cursors.values())

    def _arrive(self, index: int, rows: int) -> None:
        self.arrived.append(index)
        self.rows[index] = rows

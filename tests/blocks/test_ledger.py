"""The ledger as a state machine: every row is accounted for under any sequence of reads, deliveries and failures."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from dwm_ray.blocks.ledger import Ledger

NAMES = st.sampled_from(["a", "b", "c"])


def rows_of(index: int) -> int:
    return 10 + index


class Streams(RuleBasedStateMachine):
    """Samplers claim, deliver and fail; blocks that were released may be delivered late."""

    @initialize(num_blocks=st.integers(1, 8), prefetch_limit=st.integers(1, 4), stored=st.sets(st.integers(0, 7)))
    def begin(self, num_blocks: int, prefetch_limit: int, stored: set[int]) -> None:
        self.ledger = Ledger(num_blocks, prefetch_limit)
        self.accepted = {index for index in stored if index < num_blocks}
        for index in sorted(self.accepted):
            self.ledger.restore(index, rows_of(index))
        self.claimed: list[int] = []
        self.released: list[int] = []
        self.read: dict[str, list[int]] = {}
        self.consumed = 0

    @rule(name=NAMES)
    def open(self, name: str) -> None:
        self.ledger.open_cursor(name)
        self.read[name] = []

    @rule(name=NAMES)
    def close(self, name: str) -> None:
        self.ledger.close_cursor(name)
        self.read.pop(name, None)

    @rule()
    def claim(self) -> None:
        before = self.ledger.ahead
        index = self.ledger.claim()
        if index is None:
            return
        assert self.read, "a block was claimed without a reader"
        assert before < self.ledger.prefetch_limit, "a block was claimed beyond the limit"
        assert index not in self.claimed
        self.claimed.append(index)

    @precondition(lambda self: self.claimed)
    @rule(data=st.data())
    def deliver(self, data: st.DataObject) -> None:
        self._accept(data.draw(st.sampled_from(self.claimed)))

    @precondition(lambda self: self.released)
    @rule(data=st.data())
    def deliver_late(self, data: st.DataObject) -> None:
        """A sampler that was considered dead answers."""
        index = data.draw(st.sampled_from(self.released))
        self.released.remove(index)
        self._accept(index)

    def _accept(self, index: int) -> None:
        assert self.ledger.accept(index, rows_of(index)) is (index not in self.accepted)
        self.accepted.add(index)
        if index in self.claimed:
            self.claimed.remove(index)

    @precondition(lambda self: self.claimed)
    @rule(data=st.data())
    def fail(self, data: st.DataObject) -> None:
        index = data.draw(st.sampled_from(self.claimed))
        self.claimed.remove(index)
        self.released.append(index)
        self.ledger.release(index)

    @precondition(lambda self: self.read)
    @rule(data=st.data(), max_blocks=st.integers(1, 3))
    def advance(self, data: st.DataObject, max_blocks: int) -> None:
        name = data.draw(st.sampled_from(sorted(self.read)))
        taken = self.ledger.advance(name, max_blocks)
        assert len(taken) <= max_blocks
        self.read[name] += taken
        self.consumed += sum(map(rows_of, taken))

    @precondition(lambda self: self.read)
    @rule(data=st.data())
    def lose_an_answer(self, data: st.DataObject) -> None:
        """The last blocks did not reach the reader, which reports its position."""
        name = data.draw(st.sampled_from(sorted(self.read)))
        position = data.draw(st.integers(0, len(self.read[name])))
        self.ledger.reset_position(name, position)
        self.consumed -= sum(map(rows_of, self.read[name][position:]))
        del self.read[name][position:]

    @invariant()
    def every_row_is_accounted_for(self) -> None:
        assert self.ledger.rows == {index: rows_of(index) for index in self.accepted}
        assert sum(self.ledger.consumed.values()) == self.consumed

    @invariant()
    def cursors_read_arrived_blocks_in_order_and_once(self) -> None:
        for name, seen in self.read.items():
            assert seen == self.ledger.arrived[: len(seen)]
            assert self.ledger.finished(name) is (sorted(seen) == list(range(self.ledger.num_blocks)))
        assert len(set(self.ledger.arrived)) == len(self.ledger.arrived)

    @invariant()
    def no_block_is_lost(self) -> None:
        """Blocks that are neither accepted nor claimed are still wanted."""
        missing = set(range(self.ledger.num_blocks)) - set(self.ledger.rows) - set(self.claimed)
        if missing and self.read and self.ledger.ahead < self.ledger.prefetch_limit:
            assert self.ledger.needs_block

    def teardown(self) -> None:
        """From any state, a sampler without failures and one reader finish the stream."""
        if not hasattr(self, "ledger"):
            return
        for index in list(self.claimed):
            self._accept(index)
        self.open("last")
        for _ in range(4 * self.ledger.num_blocks + 4 * len(self.released) + 4):
            index = self.ledger.claim()
            if index is not None:
                self._accept(index)
            self.read["last"] += self.ledger.advance("last", 1)
        assert self.ledger.finished("last")
        assert sorted(self.read["last"]) == list(range(self.ledger.num_blocks))


TestStreams = Streams.TestCase
TestStreams.settings = settings(max_examples=60, stateful_step_count=40)


def test_nothing_is_claimed_without_a_reader_and_failed_blocks_are_claimed_first() -> None:
    ledger = Ledger(5, prefetch_limit=2)
    assert ledger.claim() is None
    ledger.open_cursor("a")
    assert [ledger.claim() for _ in range(3)] == [0, 1, None]
    ledger.release(0)
    assert ledger.claim() == 0


def test_the_foremost_reader_sets_the_limit_and_the_slow_one_reads_all() -> None:
    ledger = Ledger(4, prefetch_limit=1)
    ledger.open_cursor("slow")
    ledger.open_cursor("fast")
    for index in range(4):
        assert ledger.claim() == index
        assert ledger.claim() is None
        ledger.accept(index, 7)
        assert ledger.advance("fast", 8) == [index]
    assert ledger.finished("fast")
    assert ledger.advance("slow", 8) == [0, 1, 2, 3]
    assert ledger.consumed == {"slow": 4 * 7, "fast": 4 * 7}


def test_a_restarted_reader_reads_from_the_first_block() -> None:
    ledger = Ledger(2, prefetch_limit=2)
    for _ in range(2):
        ledger.open_cursor("a")
        ledger.accept(1, 5)
        assert ledger.advance("a", 8) == [1]

"""The ledger as a state machine: whatever readers, samplers and failures do, every row is accounted for."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from dwm_ray.blocks.ledger import Ledger

NAMES = st.sampled_from(["a", "b", "c"])


def rows_of(index: int) -> int:
    return 10 + index


class Streams(RuleBasedStateMachine):
    """Samplers claim, deliver and fail; late deliveries of blocks that were given back come in, too."""

    @initialize(num_blocks=st.integers(1, 8), lead=st.integers(1, 4), on_disk=st.sets(st.integers(0, 7)))
    def begin(self, num_blocks: int, lead: int, on_disk: set[int]) -> None:
        self.ledger, self.lead = Ledger(num_blocks, lead), lead
        self.restored = sorted(index for index in on_disk if index < num_blocks)
        for index in self.restored:
            self.ledger.restore(index, rows_of(index))
        self.drawing: list[int] = []
        self.given_back: list[int] = []
        self.read: dict[str, list[int]] = {}
        self.generated = self.dropped = self.consumed = 0

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
        index = self.ledger.next_wanted()
        if index is None:
            return
        assert self.read, "a block was claimed though nobody reads"
        assert before < self.lead, "a block was claimed beyond the lead"
        assert index not in self.drawing
        self.drawing.append(index)

    @precondition(lambda self: self.drawing)
    @rule(data=st.data())
    def deliver(self, data: st.DataObject) -> None:
        self._accept(data.draw(st.sampled_from(self.drawing)))

    @precondition(lambda self: self.given_back)
    @rule(data=st.data())
    def deliver_late(self, data: st.DataObject) -> None:
        """A sampler that was thought dead answers after all."""
        index = data.draw(st.sampled_from(self.given_back))
        self.given_back.remove(index)
        self._accept(index)

    def _accept(self, index: int) -> None:
        new = index not in self.ledger.rows
        assert self.ledger.accept(index, rows_of(index)) is new
        self.generated += rows_of(index)
        self.dropped += 0 if new else rows_of(index)
        if index in self.drawing:
            self.drawing.remove(index)

    @precondition(lambda self: self.drawing)
    @rule(data=st.data())
    def fail(self, data: st.DataObject) -> None:
        index = data.draw(st.sampled_from(self.drawing))
        self.drawing.remove(index)
        self.given_back.append(index)
        self.ledger.give_back(index)

    @precondition(lambda self: self.read)
    @rule(data=st.data(), most=st.integers(1, 3))
    def take(self, data: st.DataObject, most: int) -> None:
        name = data.draw(st.sampled_from(sorted(self.read)))
        taken = self.ledger.take(name, most)
        assert len(taken) <= most
        self.read[name] += taken
        self.consumed += sum(map(rows_of, taken))

    @precondition(lambda self: self.read)
    @rule(data=st.data())
    def lose_an_answer(self, data: st.DataObject) -> None:
        """What was handed out last did not reach the reader: it says how much it has."""
        name = data.draw(st.sampled_from(sorted(self.read)))
        position = data.draw(st.integers(0, len(self.read[name])))
        self.ledger.stand_at(name, position)
        self.consumed -= sum(map(rows_of, self.read[name][position:]))
        del self.read[name][position:]

    @invariant()
    def every_row_is_accounted_for(self) -> None:
        accepted = self.generated - self.dropped + sum(map(rows_of, self.restored))
        assert self.ledger.rows_accepted == accepted
        assert self.ledger.rows_generated == self.generated
        assert self.ledger.rows_dropped == self.dropped
        assert self.ledger.rows_consumed == sum(self.ledger.consumed.values()) == self.consumed

    @invariant()
    def cursors_read_what_arrived_in_order_and_once(self) -> None:
        for name, seen in self.read.items():
            assert seen == self.ledger.arrived[: len(seen)]
            assert self.ledger.finished(name) is (sorted(seen) == list(range(self.ledger.num_blocks)))
        assert len(set(self.ledger.arrived)) == len(self.ledger.arrived)

    @invariant()
    def no_block_is_lost(self) -> None:
        """What has neither arrived nor is being drawn is still wanted."""
        missing = set(range(self.ledger.num_blocks)) - set(self.ledger.rows) - set(self.drawing)
        if missing and self.read and self.ledger.ahead < self.lead:
            assert self.ledger.wants_block

    def teardown(self) -> None:
        """From any state, one honest sampler and a reader of all finish the stream."""
        if not hasattr(self, "ledger"):
            return
        for index in list(self.drawing):
            self._accept(index)
        self.open("last")
        for _ in range(4 * self.ledger.num_blocks + 4 * len(self.given_back) + 4):
            index = self.ledger.next_wanted()
            if index is not None:
                self._accept(index)
            self.read["last"] += self.ledger.take("last", 1)
        assert self.ledger.finished("last")
        assert sorted(self.read["last"]) == list(range(self.ledger.num_blocks))


TestStreams = Streams.TestCase
TestStreams.settings = settings(max_examples=60, stateful_step_count=40)


def test_nothing_is_drawn_while_nobody_reads() -> None:
    ledger = Ledger(5, lead=2)
    assert ledger.next_wanted() is None
    ledger.open_cursor("a")
    assert [ledger.next_wanted() for _ in range(3)] == [0, 1, None]


def test_the_foremost_reader_sets_the_lead_and_the_slow_one_still_reads_all() -> None:
    ledger = Ledger(4, lead=1)
    ledger.open_cursor("slow")
    ledger.open_cursor("fast")
    for index in range(4):
        assert ledger.next_wanted() == index
        assert ledger.next_wanted() is None
        ledger.accept(index, 7)
        assert ledger.take("fast", 8) == [index]
    assert ledger.finished("fast")
    assert ledger.take("slow", 8) == [0, 1, 2, 3]
    assert ledger.rows_consumed == 2 * 4 * 7


def test_a_failed_block_is_wanted_first() -> None:
    ledger = Ledger(3, lead=3)
    ledger.open_cursor("a")
    assert [ledger.next_wanted() for _ in range(2)] == [0, 1]
    ledger.give_back(0)
    assert ledger.next_wanted() == 0


def test_a_reader_that_starts_again_reads_from_the_first_block() -> None:
    ledger = Ledger(2, lead=2)
    ledger.open_cursor("a")
    ledger.accept(1, 5)
    assert ledger.take("a", 8) == [1]
    ledger.open_cursor("a")
    assert ledger.take("a", 8) == [1]

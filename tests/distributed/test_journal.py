"""Row journaling of a stream, exact over buffers that are killed and sessions that follow each other."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import numpy as np
import pytest
from buffer_stand_ins import BLOCK_ROWS, NUM_BLOCKS, SHAPE, Sampler, Store, assert_whole, build, rows_of, spec, store
from ray.exceptions import ActorDiedError, ActorUnavailableError, RayTaskError

from dwm_ray.blocks import block_files
from dwm_ray.blocks import journal as module
from dwm_ray.blocks.journal import Journal, load_journals, total_counters
from dwm_ray.distributed.buffer.replay_buffer import SyntheticReplayBuffer

__all__ = ["store"]
NUM = spec().num_segments


def folder(run: Path) -> Path:
    return block_files.stream_folder(run, spec())


def assert_exact(run: Path, samplers: list[Sampler], cursors: dict[str, int]) -> None:
    """The journal against its witnesses: what samplers drew, what lies on disk, what readers got."""
    journal = Journal(folder(run))
    on_disk = block_files.stored_blocks(run, spec())
    assert journal.generated == sum(len(spec().rows_of(index)) for sampler in samplers for index in sampler.written)
    assert journal.generated == sum(journal.accepted.values()) + journal.dropped
    assert journal.accepted == on_disk
    assert journal.consumed == cursors


async def take(buffer: SyntheticReplayBuffer, cursor: str, most: int, have: dict[int, np.ndarray]) -> bool:
    """One fetch of a reader that says how many blocks it has; was it the last?"""
    delivery = await buffer.fetch(spec(), cursor, most, 1.0, len(have))
    for index, [rows] in delivery.blocks:
        assert index not in have, "a block came twice"
        have[index] = rows
    return delivery.complete


def test_a_buffer_killed_at_any_moment_counts_every_row_once(tmp_path: Path, store: Store) -> None:
    """It dies after each fetch of both readers, and every third time before its answers reach them."""
    samplers = [Sampler(tmp_path), Sampler(tmp_path)]
    have: dict[str, dict[int, np.ndarray]] = {"a": {}, "b": {}}
    store.restarted = True

    async def life(readers: dict[str, dict[int, np.ndarray]]) -> bool:
        buffer = build(tmp_path, store, *samplers, prefetch_limit=2)
        return all([await take(buffer, name, 1, blocks) for name, blocks in readers.items()])

    for number in range(50):
        answered = number % 3 != 0
        over = asyncio.run(life(have if answered else {name: dict(blocks) for name, blocks in have.items()}))
        if over and answered:
            break
    for blocks in have.values():
        assert_whole(blocks, spec())
    assert_exact(tmp_path, samplers, {"a": NUM, "b": NUM})
    assert Journal(folder(tmp_path)).dropped == 0


@pytest.mark.parametrize("error", [ActorDiedError(), ActorUnavailableError("restarting", b"\0" * 16)])
def test_a_block_whose_sampler_died_before_it_answered_is_not_drawn_again(
    tmp_path: Path, store: Store, error: Exception
) -> None:
    dies = Sampler(tmp_path, lambda call: error if call == 2 else None, writes_first=True)
    samplers = [dies, Sampler(tmp_path)]
    buffer, have = build(tmp_path, store, *samplers), dict[int, np.ndarray]()

    async def scenario() -> None:
        while not await take(buffer, "a", 2, have):
            pass

    asyncio.run(scenario())
    assert_whole(have, spec())
    assert sorted(samplers[0].written + samplers[1].written) == list(range(NUM_BLOCKS))
    assert_exact(tmp_path, samplers, {"a": NUM})


def test_storage_that_fails_for_a_while_costs_no_row(tmp_path: Path, store: Store) -> None:
    full = RayTaskError("draw", "traceback", OSError(28, "No space left on device"))
    sampler = Sampler(tmp_path, lambda call: full if 2 <= call < 30 else None)
    buffer, have = build(tmp_path, store, sampler), dict[int, np.ndarray]()

    async def scenario() -> None:
        while not await take(buffer, "a", 2, have):
            pass

    asyncio.run(scenario())
    assert_whole(have, spec())
    assert Journal(folder(tmp_path)).generated == NUM


def test_sessions_add_up_and_a_closed_cursor_stays_counted(tmp_path: Path, store: Store) -> None:
    for number, cursor in enumerate(("first", "second")):
        buffer, have = build(tmp_path, store, Sampler(tmp_path)), dict[int, np.ndarray]()

        async def scenario(
            buffer: SyntheticReplayBuffer = buffer, cursor: str = cursor, have: dict[int, np.ndarray] = have
        ) -> None:
            while not await take(buffer, cursor, 2, have):
                pass
            await buffer.close(spec(), cursor)

        asyncio.run(scenario())
        counters = buffer.counters()
        assert (counters["segments_sampled"], counters["segments_restored"]) == (NUM, number * NUM)
        assert counters["segments_consumed"] == (number + 1) * NUM
    assert json.loads((folder(tmp_path) / "stream.json").read_text())["seconds"] == 0.5 * NUM_BLOCKS
    assert Journal(folder(tmp_path)).positions == {}
    assert total_counters(load_journals(tmp_path).values()) == counters


def test_a_line_that_was_cut_off_spoils_no_other(tmp_path: Path) -> None:
    for block in (0, 1):
        Journal(folder(tmp_path)).record_block(block, 4, accepted=True, seconds=1.0)
    path = folder(tmp_path) / module.FILE
    path.write_text(path.read_text()[:-9])
    again = Journal(folder(tmp_path))
    assert again.accepted == {0: 4}
    again.record_block(1, 4, accepted=True, found=True)
    again.record_block(1, 4, accepted=False, seconds=1.0)
    last = Journal(folder(tmp_path))
    assert (last.accepted, last.generated, last.dropped, last.seconds) == ({0: 4, 1: 4}, 12, 4, 2.0)


def test_lines_wait_while_the_journal_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal, really = Journal(folder(tmp_path)), module.open_to_append

    def full(path: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module, "open_to_append", full)
    journal.record_block(0, 4, accepted=True)
    monkeypatch.setattr(module, "open_to_append", really)
    journal.record_block(1, 4, accepted=True)
    assert Journal(folder(tmp_path)).accepted == journal.accepted == {0: 4, 1: 4}


def test_a_block_whose_file_has_gone_is_drawn_again_and_the_first_counts_as_dropped(
    tmp_path: Path, store: Store
) -> None:
    sampler = Sampler(tmp_path)
    for index in range(NUM_BLOCKS):
        block_files.write_block(tmp_path, spec(), index, rows_of(spec(), index), SHAPE)
        Journal(folder(tmp_path)).record_block(index, len(rows_of(spec(), index)), accepted=True)
    (folder(tmp_path) / "block-000002.parquet").unlink()
    buffer, have = build(tmp_path, store, sampler), dict[int, np.ndarray]()

    async def scenario() -> None:
        while not await take(buffer, "a", 2, have):
            pass

    asyncio.run(scenario())
    assert_whole(have, spec())
    journal = Journal(folder(tmp_path))
    assert (journal.dropped, journal.generated, sum(journal.accepted.values())) == (BLOCK_ROWS, NUM + BLOCK_ROWS, NUM)

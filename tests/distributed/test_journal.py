"""Row accounting of a stream, exact over killed buffers and consecutive sessions."""

import asyncio
import json
from pathlib import Path

import pytest
from buffer_stand_ins import (
    BLOCK_ROWS,
    NUM_BLOCKS,
    SHAPE,
    Blocks,
    Sampler,
    Store,
    assert_complete,
    build,
    fetch,
    read,
    rows_of,
    spec,
    store,
)
from ray.exceptions import ActorDiedError, ActorUnavailableError, RayTaskError

from dwm_ray.blocks import block_files
from dwm_ray.blocks import journal as module
from dwm_ray.blocks.journal import Journal, load_journals, total_counters

__all__ = ["store"]
NUM = spec().num_segments


def folder(run: Path) -> Path:
    return block_files.stream_folder(run, spec())


def assert_exact(run: Path, samplers: list[Sampler], cursors: dict[str, int]) -> None:
    """Compare the journal with the blocks that samplers wrote, the stored blocks, and what readers received."""
    journal = Journal(folder(run))
    assert journal.generated == sum(len(spec().rows_of(index)) for sampler in samplers for index in sampler.written)
    assert journal.generated == sum(journal.accepted.values()) + journal.dropped
    assert journal.accepted == block_files.stored_blocks(run, spec())
    assert journal.consumed == cursors


def test_a_buffer_killed_at_any_moment_counts_every_row_once(tmp_path: Path, store: Store) -> None:
    """It dies after each fetch of both readers, and every third time before its answers reach them."""
    samplers = [Sampler(tmp_path), Sampler(tmp_path)]
    received: dict[str, Blocks] = {"a": {}, "b": {}}
    store.restarted = True

    async def life(readers: dict[str, Blocks]) -> bool:
        buffer = build(tmp_path, store, *samplers, prefetch_limit=2)
        return all([await fetch(buffer, name, spec(), 1, blocks) for name, blocks in readers.items()])

    for number in range(50):
        answered = number % 3 != 0
        readers = received if answered else {name: dict(blocks) for name, blocks in received.items()}
        if asyncio.run(life(readers)) and answered:
            break
    for blocks in received.values():
        assert_complete(blocks, spec())
    assert_exact(tmp_path, samplers, {"a": NUM, "b": NUM})
    assert Journal(folder(tmp_path)).dropped == 0


@pytest.mark.parametrize("error", [ActorDiedError(), ActorUnavailableError("restarting", b"\0" * 16)])
def test_a_block_whose_sampler_died_before_its_answer_is_not_generated_again(
    tmp_path: Path, store: Store, error: Exception
) -> None:
    dies = Sampler(tmp_path, lambda call: error if call == 2 else None, writes_first=True)
    samplers = [dies, Sampler(tmp_path)]
    assert_complete(asyncio.run(read(build(tmp_path, store, *samplers), "a", spec())), spec())
    assert sorted(samplers[0].written + samplers[1].written) == list(range(NUM_BLOCKS))
    assert_exact(tmp_path, samplers, {"a": NUM})


def test_a_storage_that_fails_for_a_while_costs_no_row(tmp_path: Path, store: Store) -> None:
    full = RayTaskError("generate", "traceback", OSError(28, "No space left on device"))
    sampler = Sampler(tmp_path, lambda call: full if 2 <= call < 30 else None)
    assert_complete(asyncio.run(read(build(tmp_path, store, sampler), "a", spec())), spec())
    assert_exact(tmp_path, [sampler], {"a": NUM})


def test_sessions_add_up_and_closed_cursors_stay_counted(tmp_path: Path, store: Store) -> None:
    for number, cursor in enumerate(("first", "second")):
        buffer = build(tmp_path, store, Sampler(tmp_path))

        async def session() -> None:
            await read(buffer, cursor, spec())  # noqa: B023 - runs within the iteration
            await buffer.close(spec(), cursor)  # noqa: B023

        asyncio.run(session())
        counters = buffer.counters()
        assert (counters["segments_sampled"], counters["segments_restored"]) == (NUM, number * NUM)
        assert counters["segments_consumed"] == (number + 1) * NUM
    assert json.loads((folder(tmp_path) / "stream.json").read_text())["seconds"] == 0.5 * NUM_BLOCKS
    assert Journal(folder(tmp_path)).positions == {}
    assert total_counters(load_journals(tmp_path).values()) == counters


def test_a_truncated_line_affects_no_other(tmp_path: Path) -> None:
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


def test_lines_stay_pending_while_the_journal_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = Journal(folder(tmp_path))

    def full(path: Path) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(module, "open_for_appending", full)
        journal.record_block(0, 4, accepted=True)
    journal.record_block(1, 4, accepted=True)
    assert Journal(folder(tmp_path)).accepted == journal.accepted == {0: 4, 1: 4}


def test_a_block_without_its_file_is_generated_again_and_the_first_one_counts_as_dropped(
    tmp_path: Path, store: Store
) -> None:
    for index in range(NUM_BLOCKS):
        block_files.write_block(tmp_path, spec(), index, rows_of(spec(), index), SHAPE)
        Journal(folder(tmp_path)).record_block(index, len(rows_of(spec(), index)), accepted=True)
    (folder(tmp_path) / "block-000002.parquet").unlink()
    assert_complete(asyncio.run(read(build(tmp_path, store, Sampler(tmp_path)), "a", spec())), spec())
    journal = Journal(folder(tmp_path))
    assert (journal.dropped, journal.generated) == (BLOCK_ROWS, NUM + BLOCK_ROWS)
    assert sum(journal.accepted.values()) == NUM

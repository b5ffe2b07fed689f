"""The buffer's promises, with samplers and an object store that are stand-ins in this process.

`test_streams_on_ray.py` shows that the real ones behave as these do; here every failure can be made to happen.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from buffer_stand_ins import (
    BLOCK_ROWS,
    NUM_BLOCKS,
    SHAPE,
    Failure,
    NoGauges,
    Sampler,
    Store,
    assert_whole,
    build,
    read,
    rows_of,
    spec,
    store,
)
from ray.exceptions import ActorDiedError, ActorUnavailableError, RayTaskError

from dwm_ray.blocks import block_files
from dwm_ray.blocks.stream import StreamSpec
from dwm_ray.distributed.buffer import stream

__all__ = ["store"]


def test_each_reader_gets_each_block_once_and_it_is_drawn_once(tmp_path: Path, store: Store) -> None:
    samplers = Sampler(tmp_path), Sampler(tmp_path)
    buffer = build(tmp_path, store, *samplers)

    async def scenario() -> None:
        for blocks in await asyncio.gather(*(read(buffer, name, spec()) for name in ("a", "b"))):
            assert_whole(blocks, spec())
        await asyncio.sleep(0.01)  # gauges are set a little later

    asyncio.run(scenario())
    assert sorted(samplers[0].asked + samplers[1].asked) == list(range(NUM_BLOCKS))
    num = spec().num_segments
    assert buffer.counters() == {
        "streams_generated": 1,
        "segments_sampled": num,
        "segments_dropped": 0,
        "segments_restored": 0,
        "segments_consumed": 2 * num,
        "oom_splits": 0,
    }
    described = block_files.stream_folder(tmp_path, spec()) / "stream.json"
    assert f'"rows": {num}' in described.read_text()
    levels = {"segments_held": num, "prefetch_blocks": 0, "blocks_in_flight": 0, "readers": 2, "samplers_alive": 2}
    assert {name: NoGauges.values[name] for name in levels} == levels
    assert NoGauges.values["resident_bytes"] == num * SHAPE.width * 4
    assert NoGauges.values["generating_s"] == 0.5 * NUM_BLOCKS


def test_streams_share_the_samplers(tmp_path: Path, store: Store) -> None:
    buffer = build(tmp_path, store, Sampler(tmp_path))

    async def scenario() -> None:
        both = await asyncio.gather(*(read(buffer, "a", spec(seed)) for seed in (0, 1)))
        for seed, blocks in enumerate(both):
            assert_whole(blocks, spec(seed))

    asyncio.run(scenario())
    assert buffer.counters()["streams_generated"] == 2


def test_no_more_is_drawn_ahead_than_the_lead(tmp_path: Path, store: Store) -> None:
    sampler = Sampler(tmp_path)
    buffer = build(tmp_path, store, sampler, prefetch_limit=2)

    async def scenario() -> None:
        await buffer.fetch(spec(), "a", 1, 1.0)
        await asyncio.sleep(0.05)
        assert len(sampler.asked) == 3  # the one taken, and two ahead

    asyncio.run(scenario())


def test_beyond_its_bytes_blocks_come_back_from_disk(tmp_path: Path, store: Store) -> None:
    one_block = BLOCK_ROWS * SHAPE.width * 4
    buffer = build(tmp_path, store, Sampler(tmp_path), num_bytes=2 * one_block)

    async def scenario() -> None:
        assert_whole(await read(buffer, "a", spec()), spec())
        before = store.puts
        late = await read(buffer, "late", spec())
        assert_whole(late, spec())
        assert store.puts - before >= NUM_BLOCKS - 2
        assert [index for _, index in buffer._cache._refs] == list(late)[-2:]  # those handed out last stay

    asyncio.run(scenario())


def test_a_later_session_reads_from_disk_and_draws_only_what_is_missing(tmp_path: Path, store: Store) -> None:
    for index in (0, 2, 3):
        block_files.write_block(tmp_path, spec(), index, rows_of(spec(), index), SHAPE)
    sampler = Sampler(tmp_path)
    buffer = build(tmp_path, store, sampler)
    assert_whole(asyncio.run(read(buffer, "a", spec())), spec())
    assert sorted(sampler.asked) == [1, 4, 5]
    counters = buffer.counters()
    assert (counters["segments_restored"], counters["segments_sampled"]) == (12, 23)  # all sessions together


def test_a_whole_stream_on_disk_needs_no_sampler_and_is_described(tmp_path: Path, store: Store) -> None:
    for index in range(NUM_BLOCKS):
        block_files.write_block(tmp_path, spec(), index, rows_of(spec(), index), SHAPE)
    buffer = build(tmp_path, store)
    assert_whole(asyncio.run(read(buffer, "a", spec())), spec())
    assert buffer.counters()["segments_sampled"] == spec().num_segments  # by whom, its account does not tell
    assert (
        block_files.stream_folder(tmp_path, spec()) / "stream.json"
    ).is_file()  # the session before may have missed it


def failing(error: Exception, *calls: int) -> Failure:
    return lambda call: error if call in calls else None


BROKEN = RayTaskError("generate", "traceback", ValueError("model/xyz: no readable checkpoint"))
AWAY = ActorUnavailableError("restarting", b"\0" * 16)


@pytest.mark.parametrize("error", [BROKEN, AWAY])
def test_a_block_that_failed_is_drawn_again(tmp_path: Path, store: Store, error: Exception) -> None:
    sampler = Sampler(tmp_path, failing(error, 1, 2, 4))
    buffer = build(tmp_path, store, sampler)
    assert_whole(asyncio.run(read(buffer, "a", spec())), spec())
    assert len(sampler.asked) == NUM_BLOCKS + 3
    assert buffer.counters()["segments_sampled"] == spec().num_segments


def test_another_sampler_takes_over_from_a_dead_one(tmp_path: Path, store: Store) -> None:
    dead, alive = Sampler(tmp_path, lambda call: ActorDiedError()), Sampler(tmp_path)
    buffer = build(tmp_path, store, dead, alive)
    assert_whole(asyncio.run(read(buffer, "a", spec())), spec())
    assert len(dead.asked) == 1


FULL = RayTaskError("generate", "traceback", OSError(28, "No space left on device"))


@pytest.mark.parametrize(("error", "reason"), [(BROKEN, "no readable checkpoint"), (FULL, "No space left")])
def test_readers_receive_the_reason_if_a_stream_fails(
    tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch, error: Exception, reason: str
) -> None:
    monkeypatch.setattr(stream, "STORAGE_TIMEOUT_S", 0.0)
    buffer = build(tmp_path, store, Sampler(tmp_path, lambda call: error))
    with pytest.raises(ValueError, match=rf"stream {spec().fingerprint} cannot be generated: .*{reason}"):
        asyncio.run(read(buffer, "a", spec()))


def test_a_stream_that_cannot_be_drawn_does_not_stop_the_others(tmp_path: Path, store: Store) -> None:
    class Picky(Sampler):
        def remote(self, of: StreamSpec, index: int) -> tuple[np.ndarray, Awaitable[dict[str, Any]]]:
            self.fails = lambda call: BROKEN if of.seed == 1 else None
            return super().remote(of, index)

    buffer = build(tmp_path, store, Picky(tmp_path))

    async def scenario() -> None:
        good, bad = await asyncio.gather(read(buffer, "a", spec(0)), read(buffer, "b", spec(1)), return_exceptions=True)
        assert isinstance(bad, ValueError)
        assert isinstance(good, dict)
        assert_whole(good, spec(0))

    asyncio.run(scenario())


def test_readers_that_come_after_all_samplers_died_do_not_wait_in_vain(tmp_path: Path, store: Store) -> None:
    buffer = build(tmp_path, store, Sampler(tmp_path, lambda call: ActorDiedError()))

    async def scenario() -> None:
        for seed in (0, 1):
            with pytest.raises(ValueError, match="all samplers died"):
                await read(buffer, "a", spec(seed))

    asyncio.run(scenario())


def test_a_fault_in_the_buffer_reaches_its_readers(tmp_path: Path, store: Store) -> None:
    buffer = build(tmp_path, store, Sampler(tmp_path, lambda call: OSError("disk full")))
    with pytest.raises(ValueError, match=r"the buffer failed: .*disk full"):
        asyncio.run(read(buffer, "a", spec()))


def test_a_reader_that_closed_may_come_again(tmp_path: Path, store: Store) -> None:
    buffer = build(tmp_path, store, Sampler(tmp_path))

    async def scenario() -> None:
        for _ in range(2):
            assert_whole(await read(buffer, "a", spec()), spec())
            await buffer.close(spec(), "a")
        await buffer.close(spec(9), "a")  # a stream that a restarted buffer does not know

    asyncio.run(scenario())


def test_blocks_on_disk_are_exact(tmp_path: Path) -> None:
    rows = torch.randn(5, SHAPE.width, generator=torch.Generator().manual_seed(0)).numpy()
    block_files.write_block(tmp_path, spec(), 3, rows, SHAPE)
    (block_files.stream_folder(tmp_path, spec()) / ".block-000004.1.part").write_bytes(b"half")
    np.testing.assert_array_equal(block_files.read_block(tmp_path, spec(), 3), rows)
    assert block_files.stored_blocks(tmp_path, spec()) == {3: 5}
    assert block_files.read_shape(tmp_path, spec()) == SHAPE
    assert block_files.stored_blocks(tmp_path, spec(1)) == {}

"""The buffer with stand-ins for samplers and the object store, so that every failure can be provoked.

`test_streams_on_ray.py` shows that the real ones behave in the same way.
"""

import asyncio
from collections.abc import Awaitable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from buffer_stand_ins import (
    BLOCK_ROWS,
    NUM_BLOCKS,
    SHAPE,
    Failure,
    LastGauges,
    Sampler,
    Store,
    assert_complete,
    build,
    read,
    rows_of,
    spec,
    store,
)
from ray.exceptions import ActorDiedError, ActorUnavailableError, RayTaskError

from dwm_ray.blocks import block_files
from dwm_ray.blocks.stream import StreamSpec
from dwm_ray.distributed.buffer import shards as module
from dwm_ray.distributed.buffer import stream
from dwm_ray.distributed.buffer.shards import Shards

__all__ = ["store"]
NUM = spec().num_segments
BROKEN = RayTaskError("generate", "traceback", ValueError("model/xyz: no readable checkpoint"))
FULL = RayTaskError("generate", "traceback", OSError(28, "No space left on device"))
AWAY = ActorUnavailableError("restarting", b"\0" * 16)


def test_each_reader_gets_each_block_once_and_it_is_generated_once(tmp_path: Path, store: Store) -> None:
    samplers = Sampler(tmp_path), Sampler(tmp_path)
    buffer = build(tmp_path, store, *samplers)

    async def scenario() -> None:
        for blocks in await asyncio.gather(*(read(buffer, name, spec()) for name in ("a", "b"))):
            assert_complete(blocks, spec())
        await asyncio.sleep(0.01)  # gauges are debounced

    asyncio.run(scenario())
    assert sorted(samplers[0].requested + samplers[1].requested) == list(range(NUM_BLOCKS))
    assert buffer.counters() == {
        "streams_generated": 1,
        "segments_sampled": NUM,
        "segments_dropped": 0,
        "segments_restored": 0,
        "segments_consumed": 2 * NUM,
        "oom_splits": 0,
    }
    assert f'"rows": {NUM}' in (block_files.stream_folder(tmp_path, spec()) / "stream.json").read_text()
    levels = {"segments_held": NUM, "prefetch_blocks": 0, "blocks_in_flight": 0, "readers": 2, "samplers_alive": 2}
    levels |= {"resident_bytes": NUM * SHAPE.width * 4, "generating_s": 0.5 * NUM_BLOCKS}
    assert {name: LastGauges.values[name] for name in levels} == levels


def test_streams_share_the_samplers(tmp_path: Path, store: Store) -> None:
    buffer = build(tmp_path, store, Sampler(tmp_path))

    async def scenario() -> None:
        both = await asyncio.gather(*(read(buffer, "a", spec(seed)) for seed in (0, 1)))
        for seed, blocks in enumerate(both):
            assert_complete(blocks, spec(seed))

    asyncio.run(scenario())
    assert buffer.counters()["streams_generated"] == 2


def test_the_prefetch_limit_bounds_generation(tmp_path: Path, store: Store) -> None:
    sampler = Sampler(tmp_path)
    buffer = build(tmp_path, store, sampler, prefetch_limit=2)

    async def scenario() -> None:
        await buffer.fetch(spec(), "a", 1, 1.0)
        await asyncio.sleep(0.05)
        assert len(sampler.requested) == 3  # the one that was read, and two beyond

    asyncio.run(scenario())


def test_evicted_blocks_are_read_from_disk(tmp_path: Path, store: Store) -> None:
    buffer = build(tmp_path, store, Sampler(tmp_path), num_bytes=2 * BLOCK_ROWS * SHAPE.width * 4)

    async def scenario() -> None:
        assert_complete(await read(buffer, "a", spec()), spec())
        before = store.puts
        late = await read(buffer, "late", spec())
        assert_complete(late, spec())
        assert store.puts - before >= NUM_BLOCKS - 2
        assert [index for _, index in buffer._cache._refs] == list(late)[-2:], "the most recently used blocks stay"

    asyncio.run(scenario())


@pytest.mark.parametrize("stored", [[0, 2, 3], list(range(NUM_BLOCKS))], ids=["some", "all"])
def test_a_later_session_generates_only_missing_blocks(tmp_path: Path, store: Store, stored: list[int]) -> None:
    for index in stored:
        block_files.write_block(tmp_path, spec(), index, rows_of(spec(), index), SHAPE)
    samplers = [] if len(stored) == NUM_BLOCKS else [Sampler(tmp_path)]
    buffer = build(tmp_path, store, *samplers)
    assert_complete(asyncio.run(read(buffer, "a", spec())), spec())
    assert [sorted(sampler.requested) for sampler in samplers] == [[1, 4, 5]] * len(samplers)
    counters = buffer.counters()
    restored = sum(len(spec().rows_of(index)) for index in stored)
    assert (counters["segments_restored"], counters["segments_sampled"]) == (restored, NUM), "over all sessions"
    assert (block_files.stream_folder(tmp_path, spec()) / "stream.json").is_file()


def failing(error: Exception, *calls: int) -> Failure:
    return lambda call: error if call in calls else None


@pytest.mark.parametrize("error", [BROKEN, AWAY])
def test_a_failed_block_is_generated_again(tmp_path: Path, store: Store, error: Exception) -> None:
    sampler = Sampler(tmp_path, failing(error, 1, 2, 4))
    buffer = build(tmp_path, store, sampler)
    assert_complete(asyncio.run(read(buffer, "a", spec())), spec())
    assert len(sampler.requested) == NUM_BLOCKS + 3
    assert buffer.counters()["segments_sampled"] == NUM


def test_another_sampler_replaces_a_dead_one(tmp_path: Path, store: Store) -> None:
    dead, alive = Sampler(tmp_path, lambda call: ActorDiedError()), Sampler(tmp_path)
    buffer = build(tmp_path, store, dead, alive)
    assert_complete(asyncio.run(read(buffer, "a", spec())), spec())
    assert len(dead.requested) == 1


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (BROKEN, rf"stream {spec().fingerprint} cannot be generated: .*no readable checkpoint"),
        (FULL, "cannot be generated: .*No space left"),
        (ActorDiedError(), "all samplers died"),
        (OSError("disk full"), "the buffer failed: .*disk full"),  # raised in the buffer's own task
    ],
)
def test_all_readers_receive_the_reason_of_a_failure(
    tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch, error: Exception, message: str
) -> None:
    monkeypatch.setattr(stream, "STORAGE_TIMEOUT_S", 0.0)
    buffer = build(tmp_path, store, Sampler(tmp_path, lambda call: error))

    async def scenario() -> None:
        for cursor in ("a", "late"):
            with pytest.raises(ValueError, match=message):
                await read(buffer, cursor, spec())

    asyncio.run(scenario())


def test_a_failed_stream_does_not_stop_the_others_but_dead_samplers_do(tmp_path: Path, store: Store) -> None:
    class Picky(Sampler):
        def remote(self, of: StreamSpec, index: int) -> tuple[np.ndarray, Awaitable[dict[str, Any]]]:
            self.fails = lambda call: {1: BROKEN, 2: ActorDiedError()}.get(of.seed)
            return super().remote(of, index)

    buffer = build(tmp_path, store, Picky(tmp_path))

    async def scenario() -> None:
        good, bad = await asyncio.gather(read(buffer, "a", spec(0)), read(buffer, "b", spec(1)), return_exceptions=True)
        assert isinstance(bad, ValueError)
        assert isinstance(good, dict)
        assert_complete(good, spec(0))
        for seed in (2, 3):
            with pytest.raises(ValueError, match="all samplers died"):
                await read(buffer, "c", spec(seed))

    asyncio.run(scenario())


def test_a_closed_cursor_can_be_opened_again(tmp_path: Path, store: Store) -> None:
    buffer = build(tmp_path, store, Sampler(tmp_path))

    async def scenario() -> None:
        for _ in range(2):
            assert_complete(await read(buffer, "a", spec()), spec())
            await buffer.close(spec(), "a")
        await buffer.close(spec(9), "a")  # a stream that a restarted buffer does not know

    asyncio.run(scenario())


def test_stored_blocks_are_exact(tmp_path: Path) -> None:
    rows = torch.randn(5, SHAPE.width, generator=torch.Generator().manual_seed(0)).numpy()
    block_files.write_block(tmp_path, spec(), 3, rows, SHAPE)
    (block_files.stream_folder(tmp_path, spec()) / ".block-000004.1.part").write_bytes(b"half")
    np.testing.assert_array_equal(block_files.read_block(tmp_path, spec(), 3), rows)
    assert block_files.stored_blocks(tmp_path, spec()) == {3: 5}
    assert block_files.read_shape(tmp_path, spec()) == SHAPE
    assert block_files.stored_blocks(tmp_path, spec(1)) == {}


SPECS = [StreamSpec("model", {}, 0.5, 0.9, 12, 4, seed) for seed in range(60)]


def test_streams_are_divided_in_a_reproducible_way() -> None:
    owners = [Shards(("a", "b", "c")).of(spec) for spec in SPECS]
    assert owners == [Shards(("a", "b", "c")).of(spec) for spec in SPECS]
    assert all(owners.count(name) >= 8 for name in "abc")


def test_counters_are_summed(monkeypatch: pytest.MonkeyPatch) -> None:
    def actor(**counters: int) -> Any:
        return SimpleNamespace(counters=SimpleNamespace(remote=lambda: counters))

    monkeypatch.setattr(module, "ray", SimpleNamespace(get=lambda refs: refs))
    both = Shards((actor(segments_sampled=3, streams_generated=1), actor(segments_sampled=4, streams_generated=0)))
    assert both.counters() == {"segments_sampled": 7, "streams_generated": 1}

"""Whatever samplers and readers do to the buffer, and in whichever order: no block is lost, none comes twice."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path
from unittest import mock

from buffer_stand_ins import NUM_BLOCKS, NoGauges, Sampler, Store, assert_whole, build, spec
from hypothesis import given, settings
from hypothesis import strategies as st
from ray.exceptions import ActorDiedError, ActorUnavailableError, RayTaskError

from dwm_ray.distributed.buffer import block_cache, replay_buffer, sampler_tasks, stream
from dwm_ray.distributed.buffer.replay_buffer import SyntheticReplayBuffer

ERRORS = {
    "dies": ActorDiedError(),
    "restarts": ActorUnavailableError("restarting", b"\0" * 16),
    "fails": RayTaskError("draw", "traceback", ValueError("out of memory")),
}
FATES = st.lists(st.sampled_from([*ERRORS, "", "", ""]), max_size=8)
"""What happens to a sampler's first calls; later ones go well."""
READERS = st.lists(
    st.tuples(st.sampled_from((0, 1)), st.integers(1, 4), st.integers(0, 9), st.integers(0, 4)), min_size=1, max_size=6
)
"""(stream, blocks a fetch, turns of the loop before it comes, fetches before it closes and starts again)."""


async def read_with_a_break(buffer: SyntheticReplayBuffer, name: str, plan: tuple[int, int, int, int]) -> None:
    """Read, close in the middle, come again by another name as a restarted learner does, and read all."""
    seed, most, later, fetches = plan
    for _ in range(later):
        await asyncio.sleep(0)
    for _ in range(fetches):
        await buffer.fetch(spec(seed), name, most, 0.01)
    if fetches:
        await buffer.close(spec(seed), name)
    blocks: dict[int, object] = {}
    while True:
        delivery = await buffer.fetch(spec(seed), f"{name}-again", most, 5.0)
        assert len(delivery.blocks) <= most
        for index, [rows] in delivery.blocks:
            assert index not in blocks, "a block came twice"
            blocks[index] = rows
        if delivery.complete:
            break
    assert_whole(blocks, spec(seed))  # type: ignore[arg-type]
    await buffer.close(spec(seed), f"{name}-again")


@given(
    fates=st.lists(FATES, min_size=1, max_size=4), readers=READERS, prefetch_limit=st.integers(1, 8), few=st.booleans()
)
@settings(max_examples=60)
def test_nothing_is_lost_and_nothing_comes_twice(
    fates: list[list[str]], readers: list[tuple[int, int, int, int]], prefetch_limit: int, few: bool
) -> None:
    def fate(calls: list[str]) -> Sampler:
        return Sampler(run, lambda call: ERRORS.get(calls[call - 1]) if call <= len(calls) else None)

    async def scenario() -> None:
        plans = (read_with_a_break(buffer, f"reader-{n}", plan) for n, plan in enumerate(readers))
        await asyncio.wait_for(asyncio.gather(*plans), 30.0)

    with (
        tempfile.TemporaryDirectory() as folder,
        mock.patch.multiple(sampler_tasks, ray=(store := Store()), RETRY_PAUSE_S=0.0),
        mock.patch.multiple(replay_buffer, Gauges=NoGauges, GATHER_S=0.0),
        mock.patch.object(block_cache, "ray", store),
        mock.patch.object(stream, "MAX_FAILURES", 100),
    ):
        run = Path(folder)
        honest = Sampler(run)
        buffer = build(
            run, store, *map(fate, fates), honest, prefetch_limit=prefetch_limit, num_bytes=1 if few else 10**9
        )
        asyncio.run(scenario())
    streams = {seed for seed, *_ in readers}
    counters = buffer.counters()
    assert counters["segments_sampled"] - counters["segments_dropped"] == len(streams) * spec().num_segments
    assert counters["segments_consumed"] >= len(readers) * spec().num_segments
    for each in buffer._streams.values():
        assert sorted(each.ledger.arrived) == list(range(NUM_BLOCKS))
        assert not each.ledger.in_flight
        assert not each.ledger.cursors
    assert buffer._cache.num_bytes == sum(num_bytes for _, num_bytes in buffer._cache._refs.values())

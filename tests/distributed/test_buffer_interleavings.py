"""The buffer under any sequence of sampler failures and reader actions: no block is lost, and none comes twice."""

import asyncio
import tempfile
from pathlib import Path
from unittest import mock

from buffer_stand_ins import NUM_BLOCKS, LastGauges, Sampler, Store, assert_complete, build, read, spec
from hypothesis import given, settings
from hypothesis import strategies as st
from ray.exceptions import ActorDiedError, ActorUnavailableError, RayTaskError

from dwm_ray.distributed.buffer import block_cache, replay_buffer, sampler_tasks, stream
from dwm_ray.distributed.buffer.conditions import Condition, Debounced, Dispatcher
from dwm_ray.distributed.buffer.replay_buffer import SyntheticReplayBuffer

ERRORS = {
    "dies": ActorDiedError(),
    "restarts": ActorUnavailableError("restarting", b"\0" * 16),
    "fails": RayTaskError("generate", "traceback", ValueError("out of memory")),
}
OUTCOMES = st.lists(st.sampled_from([*ERRORS, "", "", ""]), max_size=8)
"""Outcomes of a sampler's first calls; later calls succeed."""
Plan = tuple[int, int, int, int]
READERS = st.lists(
    st.tuples(st.sampled_from((0, 1)), st.integers(1, 4), st.integers(0, 9), st.integers(0, 4)), min_size=1, max_size=6
)
"""(seed of the stream, blocks per fetch, loop turns before it starts, fetches before it closes and starts again)."""


async def read_with_a_break(buffer: SyntheticReplayBuffer, name: str, plan: Plan) -> None:
    """Read, close in the middle, and read all with another cursor, like a restarted learner."""
    seed, max_blocks, turns, fetches = plan
    for _ in range(turns):
        await asyncio.sleep(0)
    for _ in range(fetches):
        await buffer.fetch(spec(seed), name, max_blocks, 0.01)
    if fetches:
        await buffer.close(spec(seed), name)
    assert_complete(await read(buffer, f"{name}-again", spec(seed), max_blocks), spec(seed))
    await buffer.close(spec(seed), f"{name}-again")


@given(st.lists(OUTCOMES, min_size=1, max_size=4), READERS, st.integers(1, 8), st.booleans())
@settings(max_examples=60)
def test_nothing_is_lost_and_nothing_comes_twice(
    outcomes: list[list[str]], readers: list[Plan], prefetch_limit: int, tiny_cache: bool
) -> None:
    def sampler(calls: list[str]) -> Sampler:
        return Sampler(run, lambda call: ERRORS.get(calls[call - 1]) if call <= len(calls) else None)

    async def scenario() -> None:
        plans = (read_with_a_break(buffer, f"reader-{n}", plan) for n, plan in enumerate(readers))
        await asyncio.wait_for(asyncio.gather(*plans), 30.0)

    with (
        tempfile.TemporaryDirectory() as folder,
        mock.patch.multiple(sampler_tasks, ray=(store := Store()), RETRY_PAUSE_S=0.0),
        mock.patch.multiple(replay_buffer, Gauges=LastGauges, GATHER_S=0.0),
        mock.patch.object(block_cache, "ray", store),
        mock.patch.object(stream, "MAX_FAILURES", 100),
    ):
        run = Path(folder)
        samplers, num_bytes = [*map(sampler, outcomes), Sampler(run)], 1 if tiny_cache else 10**9
        buffer = build(run, store, *samplers, prefetch_limit=prefetch_limit, num_bytes=num_bytes)
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


def test_calls_within_the_delay_become_one() -> None:
    calls: list[str] = []

    async def scenario() -> None:
        debounced = Debounced(lambda: calls.append("called"), 0.01)
        for expected in (1, 2):
            for _ in range(3):
                debounced()
            assert len(calls) == expected - 1
            await asyncio.sleep(0.1)
            assert len(calls) == expected

    asyncio.run(scenario())


def test_a_notification_makes_all_waiters_evaluate_again() -> None:
    evaluated = {"a": 0, "b": 0}
    is_true = False

    async def scenario() -> None:
        nonlocal is_true
        condition = Condition(0.0)

        def predicate(name: str) -> bool:
            evaluated[name] += 1
            return is_true

        waiting = [asyncio.create_task(condition.wait_for(lambda name=name: predicate(name))) for name in evaluated]
        await asyncio.sleep(0)
        condition.notify()  # while the predicate is false
        await asyncio.sleep(0.01)
        is_true = True
        condition.notify_debounced()
        await asyncio.gather(*waiting)

    asyncio.run(scenario())
    assert evaluated == {"a": 3, "b": 3}


def test_items_go_to_idle_tasks_in_order() -> None:
    items: list[int] = []

    async def scenario() -> list[int]:
        dispatcher: Dispatcher[int] = Dispatcher(lambda: items.pop(0) if items else None)
        idle = [asyncio.create_task(dispatcher.get()) for _ in range(3)]
        await asyncio.sleep(0)
        items.extend((5, 6))
        dispatcher.dispatch()
        await asyncio.sleep(0)
        assert [task.done() for task in idle] == [True, True, False]
        items.append(7)
        dispatcher.dispatch()
        return list(await asyncio.gather(*idle))

    assert asyncio.run(scenario()) == [5, 6, 7]

"""Waiting tasks are woken by their own condition only; items are dispatched once, in order."""

from __future__ import annotations

import asyncio

from dwm_ray.distributed.buffer.conditions import Condition, Debounced, Dispatcher


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

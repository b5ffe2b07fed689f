"""Bells and the desk: who waits is woken by what concerns him, and errands go out once, in order."""

from __future__ import annotations

import asyncio

from dwm_ray.distributed.buffer.conditions import Bell, Desk, Soon


def test_calls_that_come_together_become_one() -> None:
    calls: list[str] = []

    async def scenario() -> None:
        soon = Soon(lambda: calls.append("called"), 0.01)
        for _ in range(3):
            soon()
        assert calls == []
        await asyncio.sleep(0.1)
        assert calls == ["called"]
        soon()
        await asyncio.sleep(0.1)

    asyncio.run(scenario())
    assert calls == ["called", "called"]


def test_a_bell_wakes_all_who_wait_and_they_look_again() -> None:
    looked = {"a": 0, "b": 0}
    true = False

    async def scenario() -> None:
        nonlocal true
        bell = Bell(0.0)

        def until(name: str) -> bool:
            looked[name] += 1
            return true

        waiting = [asyncio.create_task(bell.wait(lambda name=name: until(name))) for name in looked]
        await asyncio.sleep(0)
        bell.ring()  # in vain
        await asyncio.sleep(0.01)
        true = True
        bell.ring_soon()
        await asyncio.gather(*waiting)

    asyncio.run(scenario())
    assert looked == {"a": 3, "b": 3}


def test_errands_go_to_the_idle_in_the_order_in_which_they_came() -> None:
    errands: list[int] = []

    async def scenario() -> list[int]:
        desk: Desk[int] = Desk(lambda: errands.pop(0) if errands else None)
        idle = [asyncio.create_task(desk.errand()) for _ in range(3)]
        await asyncio.sleep(0)
        errands.extend((5, 6))
        desk.hand_out()
        await asyncio.sleep(0)
        assert [task.done() for task in idle] == [True, True, False]
        errands.append(7)
        desk.hand_out()
        return list(await asyncio.gather(*idle))

    assert asyncio.run(scenario()) == [5, 6, 7]

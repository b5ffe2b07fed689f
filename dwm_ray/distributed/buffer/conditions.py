"""Who waits in the buffer, and what wakes them: nobody is woken in vain.

One condition for all would wake hundreds of samplers' tasks and readers at every block, to find that nothing is theirs.
Here a sampler's task is handed the block that it waits for, and a block wakes the readers of its own stream.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

Errand = TypeVar("Errand")


class Soon:
    """A function, called once for all calls that come within `delay_s` of the first, at the end of that time."""

    def __init__(self, function: Callable[[], None], delay_s: float) -> None:
        self._function, self._delay_s, self._due = function, delay_s, False

    def __call__(self) -> None:
        if not self._due:
            self._due = True
            asyncio.get_running_loop().call_later(self._delay_s, self._run)

    def _run(self) -> None:
        self._due = False
        self._function()


class Bell:
    """Wakes all that wait for it, at once or soon; who comes later waits for the next ring."""

    def __init__(self, delay_s: float) -> None:
        self._event = asyncio.Event()
        self.ring_soon = Soon(self.ring, delay_s)

    def ring(self) -> None:
        self._event.set()
        self._event = asyncio.Event()

    async def wait(self, until: Callable[[], bool]) -> None:
        """Look at every ring if it is true by now."""
        while not until():
            await self._event.wait()


class Desk(Generic[Errand]):
    """Those who are idle queue here and are handed errands in the order in which they came."""

    def __init__(self, next_errand: Callable[[], Errand | None]) -> None:
        self._next_errand = next_errand
        self._idle: deque[asyncio.Future[Errand]] = deque()

    async def errand(self) -> Errand:
        """The next one, as soon as there is one."""
        mine: asyncio.Future[Errand] = asyncio.get_running_loop().create_future()
        self._idle.append(mine)
        self.hand_out()
        return await mine

    def hand_out(self) -> None:
        """Call it when there may be errands."""
        while self._idle and (errand := self._next_errand()) is not None:
            self._idle.popleft().set_result(errand)

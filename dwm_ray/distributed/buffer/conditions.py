"""Asyncio helpers that wake only the tasks whose condition has changed.

One condition for all would wake hundreds of sampler tasks and readers at every block. Here, a sampler task receives the
block that it should request, and a block wakes the readers of its own stream.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

Item = TypeVar("Item")


class Debounced:
    """Function that runs once for all calls within `delay_s` of the first, at the end of that time."""

    def __init__(self, function: Callable[[], None], delay_s: float) -> None:
        self._function, self._delay_s, self._scheduled = function, delay_s, False

    def __call__(self) -> None:
        if not self._scheduled:
            self._scheduled = True
            asyncio.get_running_loop().call_later(self._delay_s, self._run)

    def _run(self) -> None:
        self._scheduled = False
        self._function()


class Condition:
    """Condition whose waiters are notified immediately, or debounced."""

    def __init__(self, delay_s: float) -> None:
        self._event = asyncio.Event()
        self.notify_debounced = Debounced(self.notify, delay_s)

    def notify(self) -> None:
        """Wake all current waiters."""
        self._event.set()
        self._event = asyncio.Event()

    async def wait_for(self, predicate: Callable[[], bool]) -> None:
        """Wait until `predicate` is true; it is evaluated at every notification."""
        while not predicate():
            await self._event.wait()


class Dispatcher(Generic[Item]):
    """Queue of idle tasks, which receive items in the order in which they arrived."""

    def __init__(self, next_item: Callable[[], Item | None]) -> None:
        self._next_item = next_item
        self._idle: deque[asyncio.Future[Item]] = deque()

    async def get(self) -> Item:
        """Wait for an item."""
        future: asyncio.Future[Item] = asyncio.get_running_loop().create_future()
        self._idle.append(future)
        self.dispatch()
        return await future

    def dispatch(self) -> None:
        """Pass available items to idle tasks; call it when there may be new items."""
        while self._idle and (item := self._next_item()) is not None:
            self._idle.popleft().set_result(item)

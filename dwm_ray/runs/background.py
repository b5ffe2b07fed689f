"""Work in a thread beside the program, for as long as a `with` block lasts."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def in_background(
    name: str, work: Callable[[threading.Event], None], patience_s: float | None = None
) -> Iterator[None]:
    """Run `work` in a thread; at the end of the block its event is set, and the thread waited for up to `patience_s`
    (for ever, where None). The thread never keeps the program alive."""
    stop = threading.Event()
    thread = threading.Thread(target=work, args=(stop,), name=name, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(patience_s)

"""Run a function in a background thread for the duration of a `with` block."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def in_background(
    name: str, work: Callable[[threading.Event], None], patience_s: float | None = None
) -> Iterator[None]:
    """Run `work` in a thread; after the block, set its event and wait up to `patience_s` for the thread to end."""
    stop = threading.Event()
    thread = threading.Thread(target=work, args=(stop,), name=name, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(patience_s)

"""What this process has exchanged with storages: bytes, seconds, requests that failed."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field


@dataclass
class TransferStats:
    """What this process has exchanged with storages; `tell` hears of every change."""

    counts: dict[str, float] = field(
        default_factory=lambda: dict.fromkeys(("written_bytes", "read_bytes", "seconds", "retries", "failures"), 0.0)
    )
    tell: Callable[[Mapping[str, float]], None] = lambda counts: None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, **more: float) -> None:
        with self._lock:
            for name, value in more.items():
                self.counts[name] += value
            self.tell(self.counts)


TRANSFERS = TransferStats()

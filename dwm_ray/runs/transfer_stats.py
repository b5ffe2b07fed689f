"""Storage transfer statistics of this process: bytes, seconds, retries and failures."""

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

NAMES = ("written_bytes", "read_bytes", "seconds", "retries", "failures")


@dataclass
class TransferStats:
    """Totals of a process; `on_change` receives them after every change."""

    counts: dict[str, float] = field(default_factory=lambda: dict.fromkeys(NAMES, 0.0))
    on_change: Callable[[Mapping[str, float]], None] = lambda counts: None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, **amounts: float) -> None:
        with self._lock:
            for name, amount in amounts.items():
                self.counts[name] += amount
            self.on_change(self.counts)


TRANSFERS = TransferStats()

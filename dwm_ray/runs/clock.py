"""What a process has spent on its work: seconds, CPU seconds, memory."""

from __future__ import annotations

import resource
import time


class Clock:
    """Runs from the moment that it is made; the members of a population share its time."""

    def __init__(self, seconds_before: float = 0.0, num_members: int = 1) -> None:
        """`seconds_before` are those of earlier incarnations of the work."""
        self._before, self._num_members = seconds_before, num_members
        self._started, self._cpu_started = time.perf_counter(), time.process_time()

    @property
    def seconds(self) -> float:
        """Of work, those before a restart included."""
        return self._before + (time.perf_counter() - self._started) / self._num_members

    @property
    def cpu_s(self) -> float:
        """CPU seconds of all threads of this process: steady where other programs want the cores too. What was spent
        before a restart is not known."""
        return (time.process_time() - self._cpu_started) / self._num_members

    def costs(self) -> dict[str, float]:
        """For a row of metrics."""
        return {"max_rss_bytes": peak_memory(), "cpu_s": self.cpu_s, "seconds": self.seconds}


def peak_memory() -> int:
    """Most bytes that this process has held in memory so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024  # Linux counts KiB

"""Costs of a process: wall-clock seconds, CPU seconds, memory."""

import resource
import time


class Clock:
    """Clock that starts at construction; the members of a population share its time equally."""

    def __init__(self, seconds_before: float = 0.0, num_members: int = 1) -> None:
        """Start at `seconds_before`, the time that earlier processes spent on the same work."""
        self._before, self._num_members = seconds_before, num_members
        self._started, self._cpu_started = time.perf_counter(), time.process_time()

    @property
    def seconds(self) -> float:
        """Seconds so far, including those before a restart."""
        return self._before + (time.perf_counter() - self._started) / self._num_members

    @property
    def cpu_s(self) -> float:
        """CPU seconds of all threads of this process since construction; independent of the load of other programs."""
        return (time.process_time() - self._cpu_started) / self._num_members

    def costs(self) -> dict[str, float]:
        """Return the costs for a row of metrics."""
        return {"max_rss_bytes": peak_memory(), "cpu_s": self.cpu_s, "seconds": self.seconds}


def peak_memory() -> int:
    """Return the peak resident memory of this process in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024  # Linux counts KiB

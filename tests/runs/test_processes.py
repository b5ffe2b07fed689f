"""What /proc tells of processes."""

from __future__ import annotations

import os
import subprocess
import sys
import time

from dwm_ray.runs.processes import Stat, all_stats, below, stat_of, status_bytes, title_of


def test_this_process_is_told_as_it_is() -> None:
    before = time.process_time()
    stat = stat_of(os.getpid())
    assert stat is not None
    assert stat.parent == os.getppid()
    assert 0 < stat.cpu_s <= time.process_time() + 0.1
    assert stat.cpu_s >= before - 0.1
    assert all_stats()[os.getpid()].born == stat.born
    assert "python" in title_of(os.getpid())
    assert status_bytes(os.getpid(), "VmHWM", "VmNothing").keys() == {"VmHWM"}
    assert status_bytes(os.getpid(), "VmHWM")["VmHWM"] > 1e6


def test_a_process_that_has_gone_tells_nothing() -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    assert stat_of(gone.pid) is None
    assert title_of(gone.pid) == ""
    assert status_bytes(gone.pid, "VmHWM") == {}
    assert not below(gone.pid, os.getpid())


def test_descent_is_followed_over_generations() -> None:
    stats = {pid: Stat(pid, parent, 0.0, 0) for pid, parent in ((1, 0), (10, 1), (20, 10), (30, 20), (40, 1))}
    assert [pid for pid in stats if below(pid, 10, stats)] == [10, 20, 30]
    assert not below(50, 10, stats)
    assert below(os.getpid(), os.getppid())

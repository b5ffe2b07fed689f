"""Processes as Linux tells of them in /proc: which descend from which, what they have used."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

TICKS_PER_S = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Stat:
    """A process at one moment."""

    pid: int
    parent: int
    cpu_s: float
    """CPU seconds of all of its threads, those that have ended too."""
    born: int
    """In ticks since the machine started: together with the pid, it names the process for ever."""


def stat_of(pid: int) -> Stat | None:
    """None where there is no such process."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return Stat(pid, int(fields[1]), (int(fields[11]) + int(fields[12])) / TICKS_PER_S, int(fields[19]))


def all_stats() -> dict[int, Stat]:
    """Of all processes that can be seen, by pid."""
    found = (stat_of(int(path.name)) for path in Path("/proc").iterdir() if path.name.isdigit())
    return {stat.pid: stat for stat in found if stat}


def below(pid: int, ancestor: int, stats: Mapping[int, Stat] | None = None) -> bool:
    """Is a process the other one, or does it descend from it? Among `stats`, or as it is now."""
    while pid > 1 and pid != ancestor:
        stat = stat_of(pid) if stats is None else stats.get(pid)
        if stat is None:
            return False
        pid = stat.parent
    return pid == ancestor


def title_of(pid: int) -> str:
    """Its command line, or what it has put there; empty where there is none."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    except OSError:
        return ""


def status_bytes(pid: int, *names: str) -> dict[str, int]:
    """Sizes in bytes that its `status` holds under these names (VmHWM: most memory held so far; RssShmem: shared
    memory held); without those that it does not tell."""
    try:
        text = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return {}
    found = {name: re.search(rf"^{name}:\s+(\d+) kB", text, re.MULTILINE) for name in names}
    return {name: int(match[1]) * 1024 for name, match in found.items() if match}

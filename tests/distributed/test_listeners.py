"""A cluster that a program starts on one machine can be reached from that machine only."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.cluster
LISTENING = "0A"


def listeners() -> dict[str, str]:
    """Inode of each listening TCP socket -> its address, in hexadecimal as the kernel tells it."""
    lines = [
        line.split() for name in ("tcp", "tcp6") for line in Path(f"/proc/net/{name}").read_text().splitlines()[1:]
    ]
    return {words[9]: words[1] for words in lines if words[3] == LISTENING}


def descendants(root: int) -> set[int]:
    parents = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(path.parent.name)] = int(path.read_text().rpartition(")")[2].split()[1])
        except OSError:  # it ended meanwhile
            continue
    found = {root}
    while more := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= more
    return found


def sockets_of(pid: int) -> set[str]:
    try:
        links = [str(path.readlink()) for path in Path(f"/proc/{pid}/fd").iterdir()]
    except OSError:
        return set()
    return {link.removeprefix("socket:[").removesuffix("]") for link in links if link.startswith("socket:[")}


def is_loopback(address: str) -> bool:
    host = bytes.fromhex(address.partition(":")[0])
    if len(host) == 4:
        return host[::-1][0] == 127
    words = b"".join(host[at : at + 4][::-1] for at in range(0, 16, 4))
    return words == socket.inet_pton(socket.AF_INET6, "::1") or words[:13] == b"\0" * 10 + b"\xff\xff\x7f"


PROGRAM = """
from dwm_ray.distributed.cluster.connection import (connect)
import ray
print(connect())
work = ray.remote(num_cpus=0)(lambda: None)
ray.get(work.remote())
print(ray.get_runtime_context().gcs_address, flush=True)
input()
"""


def test_all_that_a_programs_ray_listens_on_is_loopback() -> None:
    words = [sys.executable, "-c", PROGRAM]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as program:
        assert program.stdout is not None
        lines = [program.stdout.readline(), program.stdout.readline()]
        known = listeners()
        ours = {inode for pid in descendants(program.pid) for inode in sockets_of(pid) & known.keys()}
        program.communicate("")
    assert lines[1].startswith("127.0.0.1:"), lines
    assert len(ours) >= 5, "the scan must see the scheduler, the object manager, the dashboard, the driver, workers"
    assert [known[inode] for inode in ours if not is_loopback(known[inode])] == []


def test_the_scan_tells_loopback_from_the_rest() -> None:
    assert is_loopback("0100007F:1F90")
    assert is_loopback("0" * 24 + "01000000:1F90")
    assert is_loopback("0" * 16 + "FFFF0000" + "0100007F:1F90")
    assert not is_loopback("00000000:1F90")
    assert not is_loopback("0" * 32 + ":1F90")
    assert not is_loopback("020200C0:1F90")

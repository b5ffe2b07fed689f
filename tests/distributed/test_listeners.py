"""A cluster that a program starts on one machine can be reached from that machine only."""

import ipaddress
import subprocess
import sys

import psutil
import pytest

PROGRAM = """
from dwm_ray.distributed.cluster.connection import connect
import ray
print(connect())
work = ray.remote(num_cpus=0)(lambda: None)
ray.get(work.remote())
print(ray.get_runtime_context().gcs_address, flush=True)
input()
"""


def listening_addresses(pid: int) -> list[str]:
    """Addresses on which a process and its descendants listen."""
    result = []
    for process in [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]:
        try:
            connections = process.net_connections("tcp")
        except psutil.NoSuchProcess:
            continue
        result += [each.laddr.ip for each in connections if each.status == psutil.CONN_LISTEN]
    return result


def is_loopback(address: str) -> bool:
    ip = ipaddress.ip_address(address)
    mapped = ip.ipv4_mapped if isinstance(ip, ipaddress.IPv6Address) else None
    return (mapped or ip).is_loopback


@pytest.mark.cluster
def test_ray_listens_on_loopback_only() -> None:
    args = [sys.executable, "-c", PROGRAM]
    with subprocess.Popen(args, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as program:
        assert program.stdout is not None
        lines = [program.stdout.readline(), program.stdout.readline()]
        addresses = listening_addresses(program.pid)
        program.communicate("")
    assert lines[1].startswith("127.0.0.1:"), lines
    assert len(addresses) >= 5, "scheduler, object manager, dashboard, driver and workers listen"
    assert [address for address in addresses if not is_loopback(address)] == []

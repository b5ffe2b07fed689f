"""Output of benchmark tables, and the machine that a benchmark runs on."""

import os
import platform
import sys
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from dwm_ray.report.table import Table
from dwm_ray.runs.environment import environment


def show(table: Table) -> None:
    """Print a table for a terminal, or as Markdown if the output is not a terminal."""
    if sys.stdout.isatty():
        Console().print(table.terminal())
    else:
        print(table.markdown())


def number(value: float) -> str:
    """Format a number with three significant digits."""
    return f"{value:.3g}" if value < 1000 else f"{value:,.0f}".replace(",", " ")


def machine(device: str = "cpu") -> dict[str, Any]:
    """Return the device, number of threads and cores, load average, and versions of the platform and the libraries."""
    name = torch.cuda.get_device_name(device) if device == "cuda" else cpu_name()
    load = {"threads": torch.get_num_threads(), "cores": os.cpu_count(), "load": os.getloadavg()}
    return {**environment(), **load, "device": name}


def cpu_name(path: Path = Path("/proc/cpuinfo")) -> str:
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def expect_own_cluster(purpose: str) -> None:
    """Raise ValueError if RAY_ADDRESS names a cluster, which others may use."""
    from dwm_ray.distributed.cluster.settings import joined_address  # Ray is optional for other suites

    if joined_address() is not None:
        raise ValueError(f"RAY_ADDRESS: {purpose} needs its own cluster on this machine; expected it to be unset")

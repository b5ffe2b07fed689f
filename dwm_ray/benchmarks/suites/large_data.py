"""A dataset larger than memory: peak memory of its conversion and of a learner, and updates per second.

The dataset is generated: rows of HalfCheetah's 17 states and 6 actions with random numbers, in episodes of 1000 steps.
Updates alternate between this dataset, whose rows are mapped from files, and one of `fitting_rows` rows in memory.

Memory is the anonymous memory of this process (resident minus shared pages, sampled 100 times per second). Mapped
pages are not counted: they belong to the page cache, which processes share and the operating system drops on demand.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from threading import Event
from typing import Any, ClassVar

import h5py
import numpy as np
import psutil
import torch

from dwm_ray.benchmarks.measure import Timed, Workload, alternating, paired_ratio, rate_spread
from dwm_ray.benchmarks.options import Suite
from dwm_ray.benchmarks.setup import BenchmarkSetup
from dwm_ray.benchmarks.tables import machine
from dwm_ray.runs.background import in_background
from dwm_ray.runs.files import atomic_path
from dwm_ray.runs.tensor_files import write_json

OBS_SIZE, ACT_SIZE, EPISODE = 17, 6, 1000
ENV_ID, TASK = "HalfCheetah-v5", "large-data"
CHUNK = 1_000_000


@dataclass(frozen=True)
class LargeDataSuite(Suite):
    """Memory and updates/s of a learner whose dataset is larger than memory."""

    name: ClassVar[str] = "large_data"

    rows: int = 30_000_000
    """Transitions of the large dataset, of 23 numbers each."""
    fitting_rows: int = 1_000_000
    """Transitions of the dataset in memory."""
    folder: Path = Path("/tmp/dwm_ray-large")
    """Folder of the generated files."""
    updates: int = 300
    """Updates per timing."""
    repeats: int = 7
    """Timings of each dataset, in alternating order."""

    def run(self, programs: Path) -> None:
        """Generate, measure, print and write JSON."""
        if self.repeats < 1:
            raise ValueError("--repeats: expected a positive number")
        torch.set_num_threads(1)
        large, small = (generated(self.folder / f"{rows}.hdf5", rows) for rows in (self.rows, self.fitting_rows))
        facts: dict[str, Any] = {"rows": self.rows, "bytes": large.stat().st_size}
        with peak_memory(facts, "load_or_convert"):
            setup = _setup(large)
        with peak_memory(facts, "learner"):
            mapped = self._timed(setup)
        rates = alternating({"mapped": mapped.rate, "fitting": self._timed(_setup(small)).rate}, self.repeats)
        facts |= {f"{name}_updates_per_s": values for name, values in rates.items()}
        ratio = paired_ratio(*rates.values())
        path = self.path
        write_json(path, {**facts, "ratio": ratio, "machine": machine()})
        medians = [rate_spread(values)["median"] for values in rates.values()]
        print(
            f"anonymous memory, peak: load {facts['load_or_convert_gb']:.2f} GB, learner {facts['learner_gb']:.2f} GB"
        )
        print(f"updates/s: mapped {medians[0]:.0f}, in memory {medians[1]:.0f}, ratio {ratio['median']:.3f}\n{path}")

    def _timed(self, setup: BenchmarkSetup) -> Timed:
        """Return timed updates of TD3+BC on recorded rows, with the profile's sizes; the first updates run here."""
        learner = setup.learner(setup.config("none", "td3_bc"))
        work = Workload("", lambda: partial(learner.run, self.updates), units=self.updates)
        return Timed(work, torch.device("cpu"), burst_s=0)


def generated(path: Path, rows: int) -> Path:
    """Write a file in D4RL's layout unless it exists."""
    if path.is_file():
        return path
    with atomic_path(path) as temporary, h5py.File(temporary, "w") as file:
        file.attrs["env_id"] = ENV_ID
        widths = {"observations": (OBS_SIZE,), "actions": (ACT_SIZE,), "rewards": ()}
        data = {key: file.create_dataset(key, (rows, *width), "float32") for key, width in widths.items()}
        for start in range(0, rows, CHUNK):
            rng, stop = np.random.default_rng(start), min(start + CHUNK, rows)
            walk = rng.standard_normal((stop - start, OBS_SIZE), np.float32)
            data["observations"][start:stop] = 0.9 * np.roll(walk, 1, 0) + 0.1 * walk
            data["actions"][start:stop] = rng.uniform(-1, 1, (stop - start, ACT_SIZE))
            data["rewards"][start:stop] = walk[:, 0]
        file["terminals"] = np.zeros(rows, bool)
        file["timeouts"] = np.arange(1, rows + 1) % EPISODE == 0
    return path


def _setup(file: Path) -> BenchmarkSetup:
    return BenchmarkSetup.load(TASK, str(file), torch.device("cpu"))


@contextmanager
def peak_memory(facts: dict[str, Any], name: str) -> Iterator[None]:
    """Set `facts[name_gb]` to the largest anonymous memory of this process, and `facts[name_s]` to the seconds."""
    peak, start = [anonymous_bytes()], time.perf_counter()

    def watch(stop: Event) -> None:
        while not stop.wait(0.01):
            peak.append(max(peak.pop(), anonymous_bytes()))

    with in_background("memory", watch):
        yield
    facts |= {f"{name}_gb": peak[0] / 1e9, f"{name}_s": time.perf_counter() - start}


def anonymous_bytes() -> int:
    """Return the anonymous memory of this process, without mapped files."""
    memory = psutil.Process().memory_info()
    return memory.rss - memory.shared

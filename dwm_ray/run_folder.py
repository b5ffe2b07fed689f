"""Where everything of a run lies on disk; the README shows it as a tree.

The only place that knows the names of files in a run folder. A folder that exists is never written into by a new run.
"""

from __future__ import annotations

import json
import logging
import platform
import time
from dataclasses import dataclass
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from dwm_ray.checkpoint import write_json

LOG = logging.getLogger(__name__)
LIBRARIES = ("dwm-ray", "ray", "torch", "numpy", "gymnasium", "mujoco", "minari", "pyarrow", "pydantic", "h5py")


class RunFailed(Exception):  # noqa: N818 - it names what happened
    """A run ended without a result; the text says why, on one line."""


@dataclass(frozen=True)
class RunFolder:
    """Paths below one run's root."""

    root: Path

    @staticmethod
    def create(parent: Path, task: str) -> RunFolder:
        """A new folder named by task and time. ValueError where the parent cannot be written."""
        name = f"{task.replace('/', '-').replace(':', '-')}-{time.strftime('%Y%m%d-%H%M%S')}"
        taken = [parent / (name + suffix) for suffix in ("", *(f"-{n}" for n in range(2, 100)))]
        root = next(path for path in taken if not path.exists())
        try:
            root.mkdir(parents=True)
        except OSError as error:
            raise ValueError(f"--output {parent}: cannot make a run folder there ({error.strerror})") from error
        return RunFolder(root.resolve())

    @staticmethod
    def open(root: Path) -> RunFolder:
        """A folder that a run made. ValueError where it is none."""
        if not (root / "config.json").is_file():
            raise ValueError(f"{root} is no run folder: it has no config.json")
        return RunFolder(root.resolve())

    @property
    def config(self) -> Path:
        return self.root / "config.json"

    @property
    def counters(self) -> Path:
        return self.root / "counters.json"

    @property
    def sweep(self) -> Path:
        return self.root / "sweep.json"

    @property
    def ray(self) -> Path:
        """Ray Train's and Tune's own files: their checkpoints for resuming."""
        return self.root / "ray"

    def trial(self, trial_id: str) -> Path:
        return self.root / "trials" / trial_id

    def world_model(self, fingerprint: str) -> Path:
        return self.root / "world_models" / fingerprint

    def trials(self) -> list[Path]:
        return sorted(path for path in (self.root / "trials").glob("*") if path.is_dir())

    def record_environment(self) -> None:
        """`environment.json`: versions and hardware."""
        versions = {name.replace("dwm-ray", "dwm_ray"): _version(name) for name in LIBRARIES}
        gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
        cpus = torch.get_num_threads()
        machine = {"python": platform.python_version(), "platform": platform.platform(), "cpus": cpus, "gpus": gpus}
        write_json(self.root / "environment.json", {**machine, **versions})


def _version(library: str) -> str | None:
    try:
        return metadata.version(library)
    except metadata.PackageNotFoundError:
        return None


def read_json(path: Path) -> Any:
    """A JSON file of a run folder; None where there is none, or only a part that a crash of the machine left."""
    if not path.is_file():
        return None
    try:
        return json.loads(path.read_text())
    except ValueError as error:
        _tell_once(f"{path} is no whole JSON file and passed over ({error})")
        return None


@lru_cache
def _tell_once(warning: str) -> None:
    """A file is looked at again and again while a run is watched."""
    LOG.warning(warning)


def set_status(folder: Path, status: str, **more: Any) -> None:
    """`status.json` of a trial: running, done, stopped (by the scheduler), failed."""
    write_json(folder / "status.json", {"status": status, **more})


def status_of(folder: Path) -> str:
    """The last status of a trial; 'pending' before its first."""
    return str((read_json(folder / "status.json") or {"status": "pending"})["status"])

"""Offline reinforcement learning with diffusion world models, from one laptop to a Ray cluster.

The Python API: `run_config`, `train`, `load_policy`, `load_world_model`, `load_dataset`.
"""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"
__all__ = ["load_dataset", "load_policy", "load_world_model", "run_config", "train"]

_API = {
    "load_dataset": "data.load",
    "load_policy": "local.api",
    "load_world_model": "local.api",
    "run_config": "experiment.profiles",
    "train": "local.api",
}


def __getattr__(name: str) -> Any:
    """Import the API when it is first used: workers import parts of the package only."""
    if name not in _API:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_API[name]}"), name)

"""Small made-up recordings for the tests of `data`."""

from pathlib import Path
from typing import Any

import h5py
import numpy as np

from dwm_ray.data.checks import Arrays, episodes_from
from dwm_ray.types import DataCard, Episodes, Spaces

SPACES = Spaces(obs_size=2, act_size=1, act_low=(-1.0,), act_high=(1.0,))
CARD = DataCard("made-up", "file", "made-up.hdf5", "Pendulum-v1", "")


def arrays(lengths: list[int], terminated: list[bool], with_next: bool = True) -> Arrays:
    """Episodes of these lengths in which row t has state (t, 0), next state (t, 1) at an end, else (t + 1, 0)."""
    total = sum(lengths)
    last = np.cumsum(lengths) - 1
    ends = np.zeros(total, dtype=bool)
    ends[last] = True
    terminals = np.zeros(total, dtype=bool)
    terminals[last] = terminated
    steps = np.arange(total, dtype=np.float32)
    obs = np.stack([steps, np.zeros_like(steps)], axis=1)
    following = np.stack([np.where(ends, steps, steps + 1), ends.astype(np.float32)], axis=1)
    out = {
        "observations": obs,
        "actions": (steps / total)[:, None],
        "rewards": 1 + steps,
        "terminals": terminals,
        "timeouts": ends & ~terminals,
    }
    return {**out, "next_observations": following} if with_next else out


def episodes(lengths: list[int], terminated: list[bool], with_next: bool = True) -> Episodes:
    return episodes_from(arrays(lengths, terminated, with_next), CARD, SPACES)


def pendulum(num_rows: int = 12) -> Arrays:
    """Valid arrays in Pendulum-v1's sizes (3 and 1): two episodes, the first of five rows."""
    rng = np.random.default_rng(0)
    ends = np.zeros(num_rows, dtype=bool)
    ends[[4, num_rows - 1]] = True
    return {
        "observations": rng.normal(size=(num_rows, 3)).astype(np.float32),
        "actions": rng.uniform(-2, 2, size=(num_rows, 1)).astype(np.float32),
        "rewards": rng.normal(size=num_rows).astype(np.float32),
        "terminals": np.zeros(num_rows, dtype=bool),
        "timeouts": ends,
    }


def write(path: Path, content: Arrays, **attrs: Any) -> Path:
    with h5py.File(path, "w") as file:
        for key, array in content.items():
            file[key] = array
        file.attrs.update(attrs)
    return path

"""Preallocated columns of transitions that can be saved and resumed."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from dwm_ray.data.checks import Arrays
from dwm_ray.types import Spaces

FLAGS = ("terminals", "timeouts")


class Recorder:
    """Storage for `capacity` transitions of an environment."""

    def __init__(self, spaces: Spaces, capacity: int) -> None:
        self.num_rows = 0
        self.capacity = capacity
        self.returns: list[float] = []
        """Undiscounted return of each finished episode."""
        self._return = 0.0
        widths = {"observations": spaces.obs_size, "actions": spaces.act_size, "next_observations": spaces.obs_size}
        self._columns: Arrays = {key: np.zeros((capacity, width), np.float32) for key, width in widths.items()}
        self._columns["rewards"] = np.zeros(capacity, np.float32)
        self._columns |= {key: np.zeros(capacity, bool) for key in FLAGS}

    def add(self, obs: Any, act: Any, rew: float, next_obs: Any, terminated: bool, truncated: bool) -> None:
        """Append one transition; `next_obs` is the state reached, even at the end of an episode."""
        row = {"observations": obs, "actions": act, "rewards": rew, "next_observations": next_obs}
        for key, value in {**row, "terminals": terminated, "timeouts": truncated}.items():
            self._columns[key][self.num_rows] = value
        self.num_rows += 1
        self._return += rew
        if terminated or truncated:
            self.returns.append(self._return)
            self._return = 0.0

    def arrays(self) -> Arrays:
        """Return the recorded rows under D4RL's names (views)."""
        return {key: column[: self.num_rows] for key, column in self._columns.items()}

    def tensors(self) -> dict[str, Tensor]:
        """Return the recorded rows for a checkpoint (views)."""
        return {key: torch.from_numpy(column) for key, column in self.arrays().items()}

    def load(self, tensors: dict[str, Tensor]) -> None:
        """Load saved rows and truncate their last episode; raise ValueError if they exceed the capacity."""
        rewards, terminals, timeouts = (tensors[key].numpy() for key in ("rewards", *FLAGS))
        if len(rewards) > self.capacity:
            raise ValueError(
                f"--steps: {len(rewards)} transitions are recorded already, more than the {self.capacity} requested; "
                f"expected at least {len(rewards)}"
            )
        for key, tensor in tensors.items():
            self._columns[key][: len(rewards)] = tensor.numpy()
        self.num_rows = len(rewards)
        self._columns["timeouts"][self.num_rows - 1] |= not terminals[-1]
        pieces = np.split(rewards, np.flatnonzero(terminals | timeouts) + 1)
        self.returns = [float(piece.sum()) for piece in pieces if len(piece)]

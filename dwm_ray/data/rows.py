"""Rows of a file during the checks."""

from dataclasses import dataclass, field

import numpy as np

from dwm_ray.data.mapped import owned
from dwm_ray.types import Finding


@dataclass
class Rows:
    """Rows of a file in order; flags are modified in place."""

    obs: np.ndarray  # [N, O]
    next_obs: np.ndarray  # [N, O]
    known_next: np.ndarray  # [N] bool: whether the next observation is known; all False if the file has none
    terminated: np.ndarray  # [N] bool
    truncated: np.ndarray  # [N] bool
    findings: list[Finding] = field(default_factory=list)
    is_ordered: bool = True
    """Whether rows lead to the following rows."""

    @property
    def ends(self) -> np.ndarray:
        """Return the mask [N] of the last rows of episodes."""
        return self.terminated | self.truncated

    @property
    def offsets(self) -> np.ndarray:
        """Return [E + 1]: episode e consists of the rows offsets[e]:offsets[e + 1]."""
        return np.append(0, np.flatnonzero(np.append(self.ends[:-1], True)) + 1)

    def record(self, rows: np.ndarray, description: str) -> None:
        """Record the number of rows in a mask unless it is empty."""
        if rows.any():
            self.findings.append(Finding(int(rows.sum()), description))

    def cut(self, rows: np.ndarray, description: str) -> None:
        """End episodes at the rows of a mask, as a time limit does."""
        self.record(rows, description)
        self.truncated |= rows & ~self.terminated

    def forget(self, rows: np.ndarray, description: str) -> None:
        """Mark the next states of a mask as unknown; they repeat the state."""
        self.record(rows, description)
        self.known_next = self.known_next & ~rows
        self.next_obs = owned(self.next_obs)
        self.next_obs[rows] = self.obs[rows]

    def last_rows(self, episodes: np.ndarray) -> np.ndarray:
        """Return the mask [N] of the last rows of the episodes in a mask [E]."""
        out = np.zeros(len(self.obs), dtype=bool)
        out[self.offsets[1:][episodes] - 1] = True
        return out

"""Units of DWM's windows: raw states and rewards to entries of about unit scale, and back.

`absolute` (DWM, arXiv 2402.03570): every state dimension through its empirical CDF, rewards by their range, both to
[-1, 1]. `change` (ours): entry i of a window is s_{t+i} - s_t, standardised by the mean and standard deviation of
this change in the data, for every step and dimension separately; s_t and rewards are standardised. A small
change within one step then has the same magnitude for the network as a large change within ten.
"""

from abc import abstractmethod
from collections.abc import Callable
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from dwm_ray.data.normalizers import CDFNormalizer, MinMaxNormalizer, ZScore
from dwm_ray.types import Episodes, Spaces

Units = Literal["absolute", "change"]
SMALLEST_DEVIATION = 1e-6
"""Standard deviation below which a change counts as constant."""


class WindowUnits(nn.Module):
    """Interface; fitted values are buffers."""

    std: float
    """Standard deviation of the entries, for processes that need it."""
    bound: float | None
    """Largest magnitude of an entry, for processes that clamp their samples; None if there is none."""
    state_normalizer: Callable[[Tensor], Tensor] | None = None
    """See `WorldModel.state_normalizer`; its result may be passed to `encode`."""

    @abstractmethod
    def fit(self, episodes: Episodes) -> None:
        """Set the buffers from recorded data."""

    @abstractmethod
    def encode(self, obs: Tensor, rew: Tensor, scaled: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return the entries [B, L, O] and [B, L, 1] of raw states [B, L, O] and rewards [B, L], L <= T."""

    @abstractmethod
    def decode(self, states: Tensor, rew: Tensor, obs: Tensor) -> tuple[Tensor, Tensor]:
        """Return raw states [B, m, T, O] and rewards [B, m, T] of entries [..., O] and [..., 1] after s_t [B, O]."""


class AbsoluteUnits(WindowUnits):
    """Empirical CDF of states and range of rewards."""

    std = 3**-0.5  # of the uniform distribution on [-1, 1]
    bound = 1.0

    def __init__(self, spaces: Spaces, length: int) -> None:
        super().__init__()
        self.obs, self.rew = CDFNormalizer(spaces.obs_size), MinMaxNormalizer(1)

    @property
    def state_normalizer(self) -> CDFNormalizer:  # type: ignore[override]  # the class attribute is the default
        return self.obs

    def fit(self, episodes: Episodes) -> None:
        self.obs.fit(episodes.obs)
        self.rew.fit(episodes.rew[:, None])

    def encode(self, obs: Tensor, rew: Tensor, scaled: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self.obs(obs) if scaled is None else scaled, self.rew(rew[..., None])

    def decode(self, states: Tensor, rew: Tensor, obs: Tensor) -> tuple[Tensor, Tensor]:
        return self.obs.inverse(states), self.rew.inverse(rew).squeeze(-1)


class ChangeUnits(WindowUnits):
    """Standardised changes since s_t; the first state itself is standardised."""

    std = 1.0
    bound = None
    mean: Tensor  # [T, O]; the first entry is 0
    scale: Tensor  # [T, O]; the first entry is 1

    def __init__(self, spaces: Spaces, length: int) -> None:
        super().__init__()
        self.obs, self.rew = ZScore(spaces.obs_size), ZScore(1, SMALLEST_DEVIATION)
        self.register_buffer("mean", torch.zeros(length, spaces.obs_size))
        self.register_buffer("scale", torch.ones(length, spaces.obs_size))

    def fit(self, episodes: Episodes) -> None:
        self.obs.fit(episodes.obs)
        self.rew.fit(episodes.rew[:, None])
        for step in range(1, len(self.mean)):
            mean, std = _change(episodes, step)
            self.mean[step] = torch.from_numpy(mean)
            self.scale[step] = torch.from_numpy(np.where(std > SMALLEST_DEVIATION, std, 1.0))

    def encode(self, obs: Tensor, rew: Tensor, scaled: Tensor | None = None) -> tuple[Tensor, Tensor]:
        length = obs.shape[1]
        change = (obs - obs[:, :1] - self.mean[:length]) / self.scale[:length]
        return torch.cat([self.obs(obs[:, :1]), change[:, 1:]], 1), self.rew(rew[..., None])

    def decode(self, states: Tensor, rew: Tensor, obs: Tensor) -> tuple[Tensor, Tensor]:
        start = obs[:, None, None]
        later = start + states[:, :, 1:] * self.scale[1:] + self.mean[1:]
        first = start.expand(-1, states.shape[1], -1, -1)
        return torch.cat([first, later], 2), self.rew.inverse(rew).squeeze(-1)


def window_units(kind: Units, spaces: Spaces, length: int) -> WindowUnits:
    """Build the units of windows of T = `length` states."""
    return {"absolute": AbsoluteUnits, "change": ChangeUnits}[kind](spaces, length)


def _change(episodes: Episodes, steps: int) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and standard deviation [O] of the change over `steps` steps; 0 if no episode is that long."""
    ends = np.repeat(episodes.offsets[1:], np.diff(episodes.offsets))
    first = np.arange(episodes.num_transitions - steps + 1)
    last = first + steps - 1
    rows = first[(last < ends[first]) & episodes.known_next[last]]
    if len(rows) == 0:
        return np.zeros(episodes.spaces.obs_size), np.zeros(episodes.spaces.obs_size)
    change = episodes.next_obs[rows + steps - 1] - episodes.obs[rows]
    return change.mean(0, dtype=np.float64), change.std(0, dtype=np.float64)

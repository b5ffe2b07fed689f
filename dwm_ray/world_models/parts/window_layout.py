"""Layout of DWM's windows: one tensor [B, T, D], all entries in [-1, 1].

Position i is (s_{t+i}, r_{t+i}), as in DWM (arXiv 2402.03570). A continuation channel (ours) adds c_{t+i}: 1 if the
task continues after the step from s_{t+i}, -1 if that step terminated it. After a termination, the channel remains -1
and enters the loss, whereas states and rewards do not exist. A window that ends is then one clear pattern instead of a
single outlying entry. After a truncation nothing is known, so no entry enters the loss.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from dwm_ray.diffusion.process import GivenEntries
from dwm_ray.types import Windows


@dataclass(frozen=True)
class WindowLayout:
    """Positions of states, rewards and continuation in a window."""

    length: int
    obs_size: int
    has_continuation: bool

    @property
    def shape(self) -> tuple[int, int]:
        """(T, D)."""
        return self.length, self.obs_size + 1 + self.has_continuation

    def join(self, obs: Tensor, rew: Tensor, terminated: Tensor) -> Tensor:
        """Join normalised states [B, T, O] and rewards [B, T, 1] and `terminated` [B, T] bool to [B, T, D]."""
        if not self.has_continuation:
            return torch.cat([obs, rew], -1)
        return torch.cat([obs, rew, 1 - 2 * _ended(terminated).to(obs.dtype)[..., None]], -1)

    def given(self, obs: Tensor) -> GivenEntries:
        """Return the first state, normalised [B, O], as the given entries of a window."""
        length, size = self.shape
        mask = torch.zeros(1, length, size, dtype=torch.bool, device=obs.device)
        mask[:, 0, : self.obs_size].fill_(True)  # an assignment would copy the number from the host
        return GivenEntries(mask, F.pad(obs, (0, size - self.obs_size))[:, None])

    @property
    def num_first_entries(self) -> int:
        """Number of entries of `first_entries`."""
        return 2 * self.obs_size + 1

    def continued(self, window: Tensor, has_first: Tensor) -> GivenEntries:
        """Return the first state of each window [B, T, D] as given, and its first step where `has_first` [B] is True.

        The first step is the reward of position 0 and the state of position 1.
        """
        length, size = self.shape
        start, step = (torch.zeros(length, size, dtype=torch.bool, device=window.device) for _ in range(2))
        start[0, : self.obs_size].fill_(True)
        step[0, self.obs_size].fill_(True)
        step[1, : self.obs_size].fill_(True)
        return GivenEntries(start | (step & has_first[:, None, None]), window)

    def first_entries(self, given: GivenEntries) -> Tensor:
        """Return the entries [B, num_first_entries] that `continued` may give, 0 where they are not given."""
        entries = torch.where(given.mask, given.values, 0.0)
        return torch.cat([entries[:, 0, : self.obs_size + 1], entries[:, 1, : self.obs_size]], -1)

    def obs(self, window: Tensor) -> Tensor:
        """Return the normalised states [..., T, O]."""
        return window[..., : self.obs_size]

    def rew(self, window: Tensor) -> Tensor:
        """Return the normalised rewards [..., T, 1]."""
        return window[..., self.obs_size : self.obs_size + 1]

    def discount(self, window: Tensor) -> Tensor:
        """Return the discount [..., T]: 1, and 0 from the terminating step on."""
        if not self.has_continuation:
            return torch.ones_like(window[..., 0])
        return torch.cumprod((window[..., -1] >= 0).to(window.dtype), -1)

    def learned(self, windows: Windows) -> Tensor:
        """Return the mask [B, T, D] of entries that enter the loss: recorded, or known to be -1, and not given."""
        obs_mask = windows.obs_mask[..., None].expand(windows.obs.shape).clone()
        obs_mask[:, 0] = False
        masks = [obs_mask, windows.step_mask[..., None]]
        if self.has_continuation:
            masks.append((windows.step_mask | _ended(windows.terminated))[..., None])
        return torch.cat(masks, -1)


def _ended(terminated: Tensor) -> Tensor:
    """Return [B, T] bool: the task terminated in this step or before."""
    return terminated.cumsum(-1) > 0

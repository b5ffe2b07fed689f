"""How a diffusion window lies in one tensor [B, T, D], all entries in [-1, 1].

Position i is (s_{t+i}, r_{t+i}), as in DWM (arXiv 2402.03570), and with a continuation channel (ours) also c_{t+i}: 1
where the task goes on after the step from s_{t+i}, -1 where that step ended it. After a termination the channel stays
at -1 and is learned, while states and rewards there, which do not exist, are not: a window that ends is then one clear
pattern instead of a single odd entry. After a truncation nothing is known, so nothing is learned.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from dwm_ray.types import Windows


@dataclass(frozen=True)
class WindowLayout:
    """Where states, rewards and continuation are."""

    obs_size: int
    has_continuation: bool

    @property
    def size(self) -> int:
        """D."""
        return self.obs_size + 1 + self.has_continuation

    def join(self, obs: Tensor, rew: Tensor, terminated: Tensor) -> Tensor:
        """Normalised states [B, T, O] and rewards [B, T, 1], `terminated` [B, T] bool -> [B, T, D]."""
        if not self.has_continuation:
            return torch.cat([obs, rew], -1)
        return torch.cat([obs, rew, 1 - 2 * _ended(terminated).to(obs.dtype)[..., None]], -1)

    def impose(self, window: Tensor, known: Tensor) -> Tensor:
        """Write the first state, normalised [B, O], into the window in place."""
        window[:, 0, : self.obs_size] = known
        return window

    def obs(self, window: Tensor) -> Tensor:
        """[..., T, O] states, normalised."""
        return window[..., : self.obs_size]

    def rew(self, window: Tensor) -> Tensor:
        """[..., T, 1] rewards, normalised."""
        return window[..., self.obs_size : self.obs_size + 1]

    def discount(self, window: Tensor) -> Tensor:
        """[..., T]: 1, and 0 from the step on that ends the task."""
        if not self.has_continuation:
            return torch.ones_like(window[..., 0])
        return torch.cumprod((window[..., -1] >= 0).to(window.dtype), -1)

    def learned(self, windows: Windows) -> Tensor:
        """[B, T, D] bool: recorded (or known to be -1) and not given."""
        obs_mask = windows.obs_mask[..., None].expand(windows.obs.shape).clone()
        obs_mask[:, 0] = False
        masks = [obs_mask, windows.step_mask[..., None]]
        if self.has_continuation:
            masks.append((windows.step_mask | _ended(windows.terminated))[..., None])
        return torch.cat(masks, -1)


def _ended(terminated: Tensor) -> Tensor:
    """[B, T] bool: the task ended in this step or before."""
    return terminated.cumsum(-1) > 0

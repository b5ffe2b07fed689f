"""The trajectory diffusion of DyDiff (arXiv 2405.19189): p(s_1 .. s_{L-1} | s_0, a_0 .. a_{L-1}) over windows.

A window is x [B, L, O + A], position i = (s_i, a_i), states and actions by their ranges to [-1, 1]. s_0 and all actions
are given: they are clean in x and carry no loss. EDM with the U-Net of `diffusion.denoisers`, which is told the noise
level and nothing else; it serves every length that its splits divide. An MLP over the flattened window is for small
machines and serves the training windows' length.

`faithful` repeats three faults of the public code: the loss also counts given and padded entries, churn's noise
corrupts the given entries, and preconditioning shrinks them with the noisy ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from dwm_ray.data.normalizers import MinMaxNormalizer
from dwm_ray.devices import Precision, reduced
from dwm_ray.diffusion.conditioning import LevelEncoder
from dwm_ray.diffusion.denoisers import Denoiser, DenoiserKind, ResidualMLP, TemporalUNet
from dwm_ray.diffusion.edm import Heun, Multistep, Preconditioning, training_levels
from dwm_ray.types import Episodes, Spaces, Windows


@dataclass(frozen=True)
class Network:
    """Which network, and its widths: U-Net channels or the MLP's hidden units are `dim` times each multiplier."""

    kind: DenoiserKind
    dim: int
    multipliers: Sequence[int]

    def length_for(self, needed: int, longest: int) -> int:
        """The shortest window of at least `needed` states that the network takes; the MLP takes the longest only."""
        divisor = 2 ** (len(self.multipliers) - 1)
        return longest if self.kind == "mlp" else int(-(-needed // divisor) * divisor)

    def build(self, length: int, size: int) -> Denoiser:
        """For windows [B, length, size]."""
        about = (size, LevelEncoder(self.dim), self.dim, self.multipliers)
        return TemporalUNet(*about) if self.kind == "unet" else ResidualMLP(length, *about)


class TrajectoryDiffusion(nn.Module):
    """See the module; initial weights follow from torch's global generator."""

    def __init__(self, spaces: Spaces, length: int, network: Network, faithful: bool) -> None:
        """`length` is the windows' L."""
        super().__init__()
        self.obs_normalizer = MinMaxNormalizer(spaces.obs_size)
        self.act_normalizer = MinMaxNormalizer(spaces.act_size)
        self.denoiser = network.build(length, spaces.obs_size + spaces.act_size)
        self.faithful = faithful
        self.preconditioning = Preconditioning(shrink_given=faithful)

    def fit_normalizers(self, episodes: Episodes) -> None:
        """Set both ranges from real data."""
        self.obs_normalizer.fit(episodes.obs)
        self.act_normalizer.fit(episodes.act)

    def loss(self, windows: Windows, generator: torch.Generator, precision: Precision) -> Tensor:
        """EDM's weighted squared error, mean over the states that were recorded and not given; 0 without any."""
        clean = self._joined(windows.obs, windows.act)
        given = self._given(clean)
        sigma = training_levels(len(clean), generator)
        noise = torch.randn(clean.shape, generator=generator, device=clean.device)
        noisy = torch.where(given, clean, clean + sigma[:, None, None] * noise)
        error = (self._denoise(noisy, sigma, given, precision) - clean).square()
        mask = torch.ones_like(given) if self.faithful else windows.obs_mask[..., None] & ~given
        mask = mask.expand_as(error)
        weight = self.preconditioning.weight(sigma)[:, None, None]
        return (weight * error * mask).sum() / mask.sum().clamp_min(1)

    @torch.no_grad()
    def sample(
        self,
        obs: Tensor,  # [B, L, O] raw; s_0, then the states to begin from where `solver` starts below the highest level
        act: Tensor,  # [B, L, A] raw
        solver: Heun | Multistep,
        from_states: bool,
        generator: torch.Generator,
        precision: Precision,
    ) -> Tensor:
        """States [B, L, O] (raw) that follow from s_0 under the actions; they begin as pure noise, or as the states
        that came in plus the noise of the solver's first level."""
        known = self._joined(obs, act)
        given = self._given(known)

        def impose(x: Tensor) -> Tensor:
            return torch.where(given, known, x)

        def estimate(x: Tensor, sigma: float) -> Tensor:
            return self._denoise(x, torch.full((len(x),), sigma, device=x.device), given, precision)

        start = known if from_states else torch.zeros_like(known)
        drawn = solver.sample(estimate, impose, start, generator)[..., : obs.shape[2]]
        return torch.cat([obs[:, :1], self.obs_normalizer.inverse(drawn[:, 1:])], 1)

    def _denoise(self, x: Tensor, sigma: Tensor, given: Tensor, precision: Precision) -> Tensor:
        def network(inputs: Tensor, level: Tensor) -> Tensor:
            with reduced(precision, inputs.device):
                return self.denoiser(inputs, level, None).float()

        return self.preconditioning.denoise(network, x, sigma, given)

    def _joined(self, obs: Tensor, act: Tensor) -> Tensor:
        return torch.cat([self.obs_normalizer(obs), self.act_normalizer(act)], -1)

    def _given(self, x: Tensor) -> Tensor:
        """[1, L, O + A] bool: s_0 and all actions."""
        given = torch.zeros(1, *x.shape[1:], dtype=torch.bool, device=x.device)
        given[:, 0] = True
        given[..., len(self.obs_normalizer.center) :] = True
        return given

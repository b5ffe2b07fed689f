"""Trajectory diffusion of DyDiff (arXiv 2405.19189): p(s_1 .. s_{L-1} | s_0, a_0 .. a_{L-1}) over windows.

Layout: a window x [B, L, O + A], position i = (s_i, a_i), states and actions scaled by their ranges to [-1, 1]; s_0 and
all actions are given and do not enter the loss. Process: EDM. Network: the U-Net of `diffusion.denoisers`, conditioned
on the noise level only; it accepts every length that its resolutions divide. Small machines can use an MLP over the
flattened window, which accepts only the length of the training windows.

`faithful` reproduces three faults of the public code: the loss also counts given and padded entries, churn corrupts the
given entries, and preconditioning multiplies them by c_in.
"""

import torch
from torch import Tensor, nn

from dwm_ray.data.normalizers import MinMaxNormalizer
from dwm_ray.devices import Precision
from dwm_ray.diffusion.conditioning import LevelEncoder
from dwm_ray.diffusion.denoisers import conditioned
from dwm_ray.diffusion.edm import EDM, Churn, Heun, Multistep, Preconditioning, karras_levels
from dwm_ray.diffusion.process import GivenEntries, noise_like, per_row
from dwm_ray.types import Episodes, Spaces, Windows
from dwm_ray.world_models.parts.losses import masked_mean
from dwm_ray.world_models.parts.options import DenoiserConfig


def edm(solver_steps: int, churn: Churn | None, start_sigma: float, faithful: bool) -> EDM:
    """Return the process; without churn it is sampled by DPM-Solver++ instead of Heun's method."""
    levels = karras_levels(solver_steps, start_sigma)
    solver = Heun(levels, churn, faithful) if churn else Multistep(levels)
    return EDM(Preconditioning(shrink_given=faithful), solver)


class TrajectoryDiffusion(nn.Module):
    """Diffusion of the states of a trajectory; initial weights come from torch's global generator."""

    def __init__(self, spaces: Spaces, config: DenoiserConfig, faithful: bool) -> None:
        super().__init__()
        self.obs_normalizer = MinMaxNormalizer(spaces.obs_size)
        self.act_normalizer = MinMaxNormalizer(spaces.act_size)
        self.denoiser = config.build_denoiser(spaces.obs_size + spaces.act_size, LevelEncoder(config.dim))
        self.obs_size, self.faithful = spaces.obs_size, faithful

    def fit_normalizers(self, episodes: Episodes) -> None:
        """Set both ranges from recorded data."""
        self.obs_normalizer.fit(episodes.obs)
        self.act_normalizer.fit(episodes.act)

    def loss(self, windows: Windows, process: EDM, generator: torch.Generator, precision: Precision) -> Tensor:
        """Return EDM's weighted squared error, mean over the states that were recorded and not given."""
        given = self._given(windows.obs, windows.act)
        clean = given.values
        level = process.training_levels(len(clean), generator)
        noise = noise_like(clean, generator)
        noisy = given.impose(process.add_noise(clean, noise, level))
        network = conditioned(self.denoiser, None, precision)
        error = process.squared_error(network, noisy, level, clean, noise, given)
        mask = torch.ones_like(given.mask) if self.faithful else windows.obs_mask[..., None] & ~given.mask
        return masked_mean(per_row(process.weight(level), error) * error, mask.expand_as(error))

    @torch.no_grad()
    def sample(
        self,
        obs: Tensor,  # [B, L, O] raw: s_0, then the current states
        act: Tensor,  # [B, L, A] raw
        process: EDM,
        from_states: bool,
        generator: torch.Generator,
        precision: Precision,
    ) -> Tensor:
        """Sample raw states [B, L, O] that follow from s_0 under the actions, from noise or from the noised states."""
        given = self._given(obs, act)
        network = conditioned(self.denoiser, None, precision)
        start = given.values if from_states else None
        sampled = process.sample(network, tuple(given.values.shape), given, generator, start)
        return torch.cat([obs[:, :1], self.obs_normalizer.inverse(sampled[:, 1:, : self.obs_size])], 1)

    def _given(self, obs: Tensor, act: Tensor) -> GivenEntries:
        """Return the normalised window, of which s_0 and all actions are given."""
        window = torch.cat([self.obs_normalizer(obs), self.act_normalizer(act)], -1)
        mask = torch.zeros(1, *window.shape[1:], dtype=torch.bool, device=window.device)
        mask[:, 0] = True
        mask[..., self.obs_size :] = True
        return GivenEntries(mask, window)

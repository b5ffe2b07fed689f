"""Regression of the first step (s_t, a_t) -> (s_{t+1}, r_t), which DWM's diffusion can continue from (ours).

The paper's diffusion imagines the first step together with the later ones. The first step is the least random one, so
a plain regression is more accurate. The noise of each entry is Gaussian with the standard deviation of the errors on
held-out data.
"""

import torch
from torch import Tensor, nn

from dwm_ray.data.normalizers import MinMaxNormalizer, ZScore
from dwm_ray.diffusion.denoisers import MLPBlock
from dwm_ray.types import Episodes, Segments, Spaces, Windows
from dwm_ray.world_models.base import generated
from dwm_ray.world_models.parts.losses import log_mean

NUM_BLOCKS = 2
STEPS_PER_WINDOW = 2
"""Steps of a training window that the regression learns from. All of them would double the cost of an update."""


class FirstStep(nn.Module):
    """Residual MLP over the standardised state and unit action; it predicts the change of state and the reward."""

    std: Tensor  # [O + 1] standard deviation of the standardised errors, set by `calibrate`

    def __init__(self, spaces: Spaces, width: int) -> None:
        super().__init__()
        obs_size, in_size = spaces.obs_size, spaces.obs_size + spaces.act_size
        self.obs_normalizer, self.act_normalizer = ZScore(obs_size), MinMaxNormalizer(spaces.act_size)
        self.target_normalizer = ZScore(obs_size + 1, eps=1e-6)  # a change may be far smaller than 1e-3
        self.enter = nn.Linear(in_size, width)
        self.blocks = nn.Sequential(*(MLPBlock(width, width) for _ in range(NUM_BLOCKS)), nn.LayerNorm(width))
        self.leave = nn.Linear(width + in_size, obs_size + 1)
        self.register_buffer("std", torch.zeros(obs_size + 1))

    def fit(self, episodes: Episodes) -> None:
        """Set the normalisers from recorded data."""
        mask = episodes.known_next
        change, rew = torch.from_numpy((episodes.next_obs - episodes.obs)[mask]), torch.from_numpy(episodes.rew[mask])
        self.obs_normalizer.fit(episodes.obs)
        self.act_normalizer.fit(episodes.act)
        self.target_normalizer.fit(torch.cat([change, rew[:, None]], 1).numpy())

    def loss(self, windows: Windows) -> Tensor:
        """Return the mean logarithm of the entries' squared errors, over the first steps of the windows."""
        error, mask = self._squared_error(windows)
        return log_mean(error.flatten(0, 1), mask.flatten(0, 1).expand(-1, error.shape[-1]))

    @torch.no_grad()
    def calibrate(self, holdout: Windows) -> None:
        """Set the standard deviation of the noise to that of the errors on held-out windows."""
        error, mask = self._squared_error(holdout)
        self.std.copy_(((error * mask).sum((0, 1)) / mask.sum().clamp_min(1)).sqrt())

    def imagine(self, obs: Tensor, act: Tensor, temperature: float, generator: torch.Generator) -> Segments:
        """Return first steps (H = 1) of raw start pairs [B, O] and [B, A]; `temperature` scales the noise."""
        target = self._predict(obs, act)
        noise = torch.randn(target.shape, generator=generator, device=target.device)
        change, rew = self.target_normalizer.inverse(target + temperature * self.std * noise).split(
            [obs.shape[1], 1], dim=-1
        )
        return generated(torch.stack([obs, obs + change], 1), act[:, None], rew, torch.ones_like(rew))

    def _squared_error(self, windows: Windows) -> tuple[Tensor, Tensor]:
        """Return the errors [B, n, O + 1] of standardised targets, and the mask [B, n, 1] of recorded steps."""
        steps = min(STEPS_PER_WINDOW, windows.obs.shape[1] - 1)
        obs, later = windows.obs[:, :steps], windows.obs[:, 1 : steps + 1]
        target = self.target_normalizer(torch.cat([later - obs, windows.rew[:, :steps, None]], -1))
        mask = windows.transition_mask[:, :steps, None]
        return (self._predict(obs, windows.act[:, :steps]) - target).square(), mask

    def _predict(self, obs: Tensor, act: Tensor) -> Tensor:
        inputs = torch.cat([self.obs_normalizer(obs), self.act_normalizer(act)], -1)
        return self.leave(torch.cat([self.blocks(self.enter(inputs)), inputs], -1))

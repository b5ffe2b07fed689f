"""Policy p(a | s) as a diffusion model of actions (Diffusion-QL, Wang et al. 2022, arXiv 2208.06193, section 3).

An MLP conditioned on state and step denoises actions in K steps; with the variance-preserving schedule K = 5 is enough.
Clean actions are clamped to [-1, 1] at every step. Sampling is differentiable, so a critic can train the whole chain.
"""

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dwm_ray.agents.parts.networks import StackedMLP
from dwm_ray.devices import Precision
from dwm_ray.diffusion.activation import mish
from dwm_ray.diffusion.conditioning import mlp, sinusoids
from dwm_ray.diffusion.ddpm import DDPMStride, alpha_bars, posterior_jumps, stride_steps
from dwm_ray.diffusion.process import standard_normal
from dwm_ray.types import Spaces

STEP_SIZE = 16
"""Size of the diffusion step's embedding."""


class DiffusionPolicy(nn.Module):
    """Diffusion policy of unit actions for standardised observations."""

    signal: Tensor  # [K + 1] alpha_bar
    features: Tensor  # [K + 1, STEP_SIZE]

    def __init__(self, spaces: Spaces, hidden: list[int], diffusion_steps: int, precision: Precision) -> None:
        super().__init__()
        sizes = [spaces.act_size + STEP_SIZE + spaces.obs_size, *hidden, spaces.act_size]
        self.body = StackedMLP(1, sizes, precision, mish)
        self.step_mlp = mlp(STEP_SIZE, 2 * STEP_SIZE, STEP_SIZE)
        signal = alpha_bars("vp", diffusion_steps)
        self.diffusion_steps = diffusion_steps
        self.chain = DDPMStride(posterior_jumps(signal, stride_steps(diffusion_steps, diffusion_steps)), 1.0)
        self.levels = [(level**0.5, (1 - level) ** 0.5) for level in signal.tolist()]
        self.register_buffer("signal", signal, persistent=False)
        self.register_buffer("features", sinusoids(diffusion_steps, STEP_SIZE), persistent=False)

    def loss(self, obs: Tensor, act: Tensor, generator: torch.Generator) -> Tensor:
        """Return the cloning loss []: the mean squared error of the noise predicted in noisy actions [B, A]."""
        step = torch.randint(1, self.diffusion_steps + 1, (len(act),), generator=generator, device=act.device)
        noise = standard_normal(act.shape, generator)
        signal = self.signal[step].unsqueeze(1)
        noisy = signal.sqrt() * act + (1 - signal).sqrt() * noise
        return F.mse_loss(self._noise(noisy, self.step_mlp(self.features)[step], obs), noise)

    def sample(self, obs: Tensor, noise_shape: tuple[int, ...], noise: torch.Generator | Iterator[Tensor]) -> Tensor:
        """Sample actions [B, N, A] with gradients; `noise_shape` is [N, A] if all states share the noise."""
        num = noise_shape[-2]
        states = obs.unsqueeze(1).expand(-1, num, -1).flatten(0, 1)
        embeddings = self.step_mlp(self.features)

        def estimate(x: Tensor, step: int) -> Tensor:
            x = x.expand(obs.shape[0], -1, -1)  # `len` would fix the batch size of an exported policy
            embedding = embeddings[step].expand(states.shape[0], -1)
            predicted = self._noise(x.flatten(0, 1), embedding, states).view_as(x)
            signal, level = self.levels[step]
            return (x - level * predicted) / signal

        return self.chain.sample(estimate, lambda x: x, noise_shape, noise)

    def _noise(self, noisy: Tensor, embedding: Tensor, obs: Tensor) -> Tensor:
        """Predict the noise [B, A] in noisy actions."""
        return self.body(torch.cat([noisy, embedding, obs], 1)).squeeze(0)

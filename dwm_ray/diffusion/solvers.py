"""From noise to samples: the DDPM posterior over a subset of the training steps.

Ho et al. (arXiv 2006.11239, equations 6 and 7) between neighbouring steps; Nichol & Dhariwal (arXiv 2102.09672, section
4) between N chosen ones, where the variance of a jump follows from the product of the alphas it skips. As in Decision
Diffuser, a temperature below 1 scales the starting noise and the noise of every step. Known entries are written in at
the start and after every step, so the network never sees them noisy.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

Estimate = Callable[[Tensor, int], Tensor]
"""(x [B, ...], step k in 1..K) -> the clean sample that the network sees in it, same shape."""

Impose = Callable[[Tensor], Tensor]
"""x -> x with the known entries written in."""


def stride_steps(diffusion_steps: int, solver_steps: int) -> list[int]:
    """N of the steps 1..K, equally spaced from 1 to K, in descending order; a single step is K."""
    if solver_steps == 1:
        return [diffusion_steps]
    spacing = (diffusion_steps - 1) / (solver_steps - 1)
    return [round(1 + i * spacing) for i in reversed(range(solver_steps))]


@dataclass(frozen=True)
class Jump:
    """One posterior step x_k -> x_j: x_j = clean * x0 + noisy * x_k + std * noise."""

    start: int
    clean: float
    noisy: float
    std: float


def posterior_jumps(alpha_bars: Tensor, steps: list[int]) -> list[Jump]:
    """The posterior q(x_j | x_k, x0) for each chosen step k and its successor j, the last successor being 0."""
    signal = alpha_bars.double().tolist()
    jumps = []
    for k, j in zip(steps, [*steps[1:], 0], strict=True):
        kept = signal[k] / signal[j]
        noise_ratio = (1 - signal[j]) / (1 - signal[k])
        clean = signal[j] ** 0.5 * (1 - kept) / (1 - signal[k])
        jumps.append(Jump(k, clean, kept**0.5 * noise_ratio, ((1 - kept) * noise_ratio) ** 0.5))
    return jumps


@dataclass(frozen=True)
class DDPMStride:
    """Ancestral sampling over `jumps`."""

    jumps: list[Jump]
    temperature: float

    def sample(
        self, estimate: Estimate, impose: Impose, shape: torch.Size | tuple[int, ...], generator: torch.Generator
    ) -> Tensor:
        """A sample in [-1, 1] of the given shape, on the generator's device."""
        x = impose(self._noise(shape, generator))
        for jump in self.jumps:
            x0 = estimate(x, jump.start).clamp_(-1, 1)
            x = jump.clean * x0 + jump.noisy * x
            if jump.std > 0:
                x = x.add_(self._noise(shape, generator), alpha=jump.std)
            x = impose(x)
        return x

    def _noise(self, shape: torch.Size | tuple[int, ...], generator: torch.Generator) -> Tensor:
        return torch.randn(shape, generator=generator, device=generator.device).mul_(self.temperature)

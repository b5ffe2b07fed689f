"""DDPM (arXiv 2006.11239) with K discrete steps, sampled by its posterior over N of them.

Schedules: `cosine` (arXiv 2102.09672, equation 17, betas clipped at .999; DWM) and `vp` (Diffusion-QL, arXiv
2208.06193), which leaves more signal in the last of few steps. The posterior between distant steps follows from the
product of the alphas in between (arXiv 2102.09672, section 4). A temperature below 1 scales all noise in sampling, as
in Decision Diffuser.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import torch
from torch import Tensor

from dwm_ray.diffusion.process import GivenEntries, Impose, Network, imposer, per_row, standard_normal

Schedule = Literal["cosine", "vp"]
Prediction = Literal["noise", "sample"]

Estimate = Callable[[Tensor, int], Tensor]
"""(x [B, ...], step k in 1..K) -> estimate of the clean sample, same shape."""


def cosine_betas(num_steps: int, offset: float = 0.008) -> Tensor:
    """Return the [K] noise variances of the cosine schedule in double precision."""
    position = torch.linspace(0, 1, num_steps + 1, dtype=torch.float64)
    signal = torch.cos((position + offset) / (1 + offset) * math.pi / 2) ** 2
    return (1 - signal[1:] / signal[:-1]).clamp(max=0.999)


def vp_betas(num_steps: int, beta_min: float = 0.1, beta_max: float = 10.0) -> Tensor:
    """Return the [K] noise variances of the variance-preserving schedule in double precision."""
    step = torch.arange(1, num_steps + 1, dtype=torch.float64)
    drift = beta_min / num_steps + 0.5 * (beta_max - beta_min) * (2 * step - 1) / num_steps**2
    return 1 - torch.exp(-drift)


def alpha_bars(schedule: Schedule, num_steps: int) -> Tensor:
    """Return the remaining signal variance [K + 1] after 0..K steps, in float32; entry 0 is 1."""
    betas = cosine_betas(num_steps) if schedule == "cosine" else vp_betas(num_steps)
    return torch.cat([torch.ones(1, dtype=torch.float64), torch.cumprod(1 - betas, 0)]).float()


def stride_steps(diffusion_steps: int, solver_steps: int) -> list[int]:
    """Return N of the steps 1..K in descending order, equally spaced from K to 1; a single step is K."""
    if solver_steps == 1:
        return [diffusion_steps]
    spacing = (diffusion_steps - 1) / (solver_steps - 1)
    return [round(1 + i * spacing) for i in reversed(range(solver_steps))]


@dataclass(frozen=True)
class Jump:
    """Posterior step x_k -> x_j: x_j = clean * x0 + noisy * x_k + std * noise."""

    start: int
    clean: float
    noisy: float
    std: float


def posterior_jumps(alpha_bars: Tensor, steps: list[int]) -> list[Jump]:
    """Return the posterior q(x_j | x_k, x0) of each step k and its successor j; the last successor is 0."""
    signal = alpha_bars.double().tolist()
    jumps = []
    for k, j in zip(steps, [*steps[1:], 0], strict=True):
        ratio = signal[k] / signal[j]
        noise_ratio = (1 - signal[j]) / (1 - signal[k])
        clean = signal[j] ** 0.5 * (1 - ratio) / (1 - signal[k])
        jumps.append(Jump(k, clean, ratio**0.5 * noise_ratio, ((1 - ratio) * noise_ratio) ** 0.5))
    return jumps


@lru_cache
def strided_jumps(schedule: Schedule, diffusion_steps: int, solver_steps: int) -> list[Jump]:
    """Return the jumps over N equally spaced steps, computed once on the CPU."""
    return posterior_jumps(alpha_bars(schedule, diffusion_steps), stride_steps(diffusion_steps, solver_steps))


@dataclass(frozen=True)
class DDPMStride:
    """Ancestral sampling over `jumps`."""

    jumps: list[Jump]
    temperature: float
    bound: float | None = 1.0
    """Largest magnitude of a clean sample, to which estimates are clamped; None for unbounded samples."""

    def sample(
        self,
        estimate: Estimate,
        impose: Impose,
        shape: tuple[int, ...],
        noise: torch.Generator | Iterator[Tensor],
    ) -> Tensor:
        """Sample a tensor of the given shape on the generator's device, or from the tensors of `fixed_noise`."""
        x = impose(self._noise(shape, noise))
        for jump in self.jumps:
            x0 = estimate(x, jump.start)
            if self.bound is not None:
                x0 = x0.clamp_(-self.bound, self.bound)
            x = jump.clean * x0 + jump.noisy * x
            if jump.std > 0:
                x = x.add_(self._noise(shape, noise), alpha=jump.std)
            x = impose(x)
        return x

    def fixed_noise(self, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
        """Return the standard normal numbers [n, *shape] that `sample` would take from the generator."""
        count = 1 + sum(jump.std > 0 for jump in self.jumps)
        return torch.stack([standard_normal(shape, generator) for _ in range(count)])

    def _noise(self, shape: tuple[int, ...], noise: torch.Generator | Iterator[Tensor]) -> Tensor:
        sample = standard_normal(shape, noise) if isinstance(noise, torch.Generator) else next(noise)
        return sample * self.temperature


@dataclass(frozen=True)
class DDPM:
    """The process over samples of about unit scale; a level is a step 1..K (int64)."""

    signal: Tensor
    """[K + 1] `alpha_bars` on the device of the samples."""
    solver: DDPMStride
    prediction: Prediction = "noise"
    """Output of the network: the noise, or the clean sample."""

    def training_levels(self, batch: int, generator: torch.Generator) -> Tensor:
        return torch.randint(1, len(self.signal), (batch,), generator=generator, device=generator.device)

    def add_noise(self, clean: Tensor, noise: Tensor, level: Tensor) -> Tensor:
        signal = per_row(self.signal[level], clean)
        return signal.sqrt() * clean + (1 - signal).sqrt() * noise

    def squared_error(
        self, network: Network, noisy: Tensor, level: Tensor, clean: Tensor, noise: Tensor, given: GivenEntries | None
    ) -> Tensor:
        return (network(noisy, level) - (noise if self.prediction == "noise" else clean)).square()

    def weight(self, level: Tensor) -> Tensor:
        return torch.ones_like(level, dtype=torch.float32)

    def sample(
        self, network: Network, shape: tuple[int, ...], given: GivenEntries | None, generator: torch.Generator
    ) -> Tensor:
        def estimate(x: Tensor, step: int) -> Tensor:
            predicted = network(x, torch.full((len(x),), step, device=x.device))
            if self.prediction == "sample":
                return predicted
            signal = self.signal[step]
            return (x - (1 - signal).sqrt() * predicted) / signal.sqrt()

        return self.solver.sample(estimate, imposer(given), shape, generator)

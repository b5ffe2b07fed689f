"""EDM (arXiv 2206.00364): noise levels, preconditioned denoiser and solvers, for samples with given entries.

A noisy sample is x = clean + sigma * noise. The network F becomes a denoiser D(x; sigma) = c_skip x + c_out F(c_in x;
c_noise) (equation 7), trained at log-normal levels with a weight that equalises their losses (section 5) and sampled
along Karras levels (equation 5). Given entries (DyDiff, arXiv 2405.19189: the first state and all actions) are restored
after every change of x, so the network never receives them noisy. Sampling that starts from a guess, at a level
below the highest, preserves the coarse features of the guess (SDEdit, arXiv 2108.01073) and takes fewer steps.

Difference: given entries are not multiplied by c_in, which would hide them at high levels. `shrink_given` and
`noisy_given` restore the behaviour of DyDiff's public code, which multiplies them and leaves the noise of churn on
them.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from dwm_ray.diffusion.process import GivenEntries, Impose, Network, imposer, noise_like, per_row

SIGMA_MIN, SIGMA_MAX, RHO = 0.002, 80.0, 7.0
"""The paper's range of noise levels in sampling and the exponent that spaces them (table 1)."""
LOG_MEAN, LOG_STD = -1.2, 1.2
"""Mean and standard deviation of the logarithm of noise levels in training (P_mean, P_std)."""

Estimate = Callable[[Tensor, float], Tensor]
"""(x [B, ...], sigma) -> estimate of the clean sample, same shape."""


def karras_levels(num_steps: int, sigma_max: float = SIGMA_MAX, sigma_min: float = SIGMA_MIN) -> list[float]:
    """Return N levels from `sigma_max` to `sigma_min`, dense at the low end, followed by 0."""
    high, low = sigma_max ** (1 / RHO), min(sigma_min, sigma_max) ** (1 / RHO)
    fractions = [i / max(num_steps - 1, 1) for i in range(num_steps)]
    return [*((high + fraction * (low - high)) ** RHO for fraction in fractions), 0.0]


@dataclass(frozen=True)
class Preconditioning:
    """Scaling of the network's input and target to unit variance at every level."""

    sigma_data: float = 0.5
    """Standard deviation of the data."""
    shrink_given: bool = False
    """Multiply given entries by c_in like noisy ones, as DyDiff's public code does."""

    def scalings(self, sigma: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return (c_skip, c_out, c_in, c_noise), each of sigma's shape."""
        total = sigma.square() + self.sigma_data**2
        return self.sigma_data**2 / total, sigma * self.sigma_data / total.sqrt(), total.rsqrt(), sigma.log() / 4

    def weight(self, sigma: Tensor) -> Tensor:
        """Return the weight of the squared error at each level, 1 / c_out^2."""
        return (sigma.square() + self.sigma_data**2) / (sigma * self.sigma_data).square()

    def denoise(self, network: Network, x: Tensor, sigma: Tensor, given: Tensor | None) -> Tensor:
        """Return D(x; sigma) for levels [B]; `given` (bool, broadcasts to x) is True where x is clean."""
        skip, out, shrink, noise = self.scalings(sigma)
        skip, out, shrink = (per_row(scale, x) for scale in (skip, out, shrink))
        inputs = shrink * x if given is None or self.shrink_given else torch.where(given, x, shrink * x)
        return skip * x + out * network(inputs, noise)


@dataclass(frozen=True)
class Churn:
    """Fresh noise before a step; the defaults are those of DyDiff (and of the paper's ImageNet model)."""

    amount: float = 60.0  # S_churn
    low: float = 0.37  # S_min: no churn below this level
    high: float = 52.24  # S_max: no churn above this level
    inflation: float = 1.002  # S_noise: standard deviation of the fresh noise

    def raised(self, sigma: float, num_steps: int) -> float:
        """Return the level to which the noise of a step that begins at `sigma` is raised."""
        ratio = min(self.amount / num_steps, 2**0.5 - 1) if self.low <= sigma <= self.high else 0.0
        return sigma * (1 + ratio)


@dataclass(frozen=True)
class Heun:
    """Algorithm 2 over `levels` (descending, the last is 0), 2 N - 1 network calls."""

    levels: list[float]
    churn: Churn | None = None
    noisy_given: bool = False
    """Leave churn's noise on the given entries in the first call of a churned step, as DyDiff's public code does."""

    def sample(self, estimate: Estimate, impose: Impose, start: Tensor, generator: torch.Generator) -> Tensor:
        """Sample from `start` plus noise of the first level; zeros with a first level of 80 give pure noise."""
        x = impose(start + self.levels[0] * noise_like(start, generator))
        for sigma, next_sigma in pairwise(self.levels):
            x, sigma = self._churned(x, sigma, impose, generator)
            x = self._step(estimate, impose, x, sigma, next_sigma)
        return x

    def _churned(self, x: Tensor, sigma: float, impose: Impose, generator: torch.Generator) -> tuple[Tensor, float]:
        raised = sigma if self.churn is None else self.churn.raised(sigma, len(self.levels) - 1)
        if self.churn is None or raised == sigma:
            return x, sigma
        x = x + (raised**2 - sigma**2) ** 0.5 * self.churn.inflation * noise_like(x, generator)
        return x if self.noisy_given else impose(x), raised

    @staticmethod
    def _step(estimate: Estimate, impose: Impose, x: Tensor, sigma: float, next_sigma: float) -> Tensor:
        slope = (x - estimate(x, sigma)) / sigma
        next_x = impose(x + (next_sigma - sigma) * slope)
        if next_sigma == 0:
            return next_x
        next_slope = (next_x - estimate(next_x, next_sigma)) / next_sigma
        return impose(x + (next_sigma - sigma) * (slope + next_slope) / 2)


@dataclass(frozen=True)
class Multistep:
    """DPM-Solver++(2M) (arXiv 2211.01095, algorithm 2) over `levels`, N network calls, deterministic given its start.

    Every x is an average of the last x and clean estimates, so long steps do not overshoot, unlike Heun's.
    """

    levels: list[float]
    temperature: float = 1.0
    """Scale of the initial noise."""
    second_order: bool = True
    """Extrapolate from the last two estimates. Without it (DDIM), very few steps do not overshoot."""

    def sample(self, estimate: Estimate, impose: Impose, start: Tensor, generator: torch.Generator) -> Tensor:
        """Sample as `Heun.sample` does."""
        noise = self.levels[0] * self.temperature * noise_like(start, generator)
        x, last_clean, last_stride = impose(start + noise), None, 0.0
        for sigma, next_sigma in pairwise(self.levels):
            clean = estimate(x, sigma)
            if next_sigma == 0:
                return impose(clean)
            stride = math.log(sigma / next_sigma)
            extrapolated = (
                clean
                if last_clean is None or not self.second_order
                else clean + stride / (2 * last_stride) * (clean - last_clean)
            )
            x = impose(torch.lerp(extrapolated, x, next_sigma / sigma))
            last_clean, last_stride = clean, stride
        return x


@dataclass(frozen=True)
class EDM:
    """The process; a level is a standard deviation sigma, which the network receives as log(sigma) / 4."""

    preconditioning: Preconditioning
    solver: Heun | Multistep
    log_mean: float = LOG_MEAN
    log_std: float = LOG_STD

    def training_levels(self, batch: int, generator: torch.Generator) -> Tensor:
        return (self.log_mean + self.log_std * torch.randn(batch, generator=generator, device=generator.device)).exp()

    def add_noise(self, clean: Tensor, noise: Tensor, level: Tensor) -> Tensor:
        return clean + per_row(level, clean) * noise

    def squared_error(
        self, network: Network, noisy: Tensor, level: Tensor, clean: Tensor, noise: Tensor, given: GivenEntries | None
    ) -> Tensor:
        return (self._denoise(network, noisy, level, given) - clean).square()

    def weight(self, level: Tensor) -> Tensor:
        return self.preconditioning.weight(level)

    def sample(
        self,
        network: Network,
        shape: tuple[int, ...],
        given: GivenEntries | None,
        generator: torch.Generator,
        start: Tensor | None = None,
    ) -> Tensor:
        """Sample from pure noise, or from the guess `start` if the solver's first level is below the highest."""

        def estimate(x: Tensor, sigma: float) -> Tensor:
            return self._denoise(network, x, torch.full((len(x),), sigma, device=x.device), given)

        start = torch.zeros(shape, device=generator.device) if start is None else start
        return self.solver.sample(estimate, imposer(given), start, generator)

    def _denoise(self, network: Network, x: Tensor, sigma: Tensor, given: GivenEntries | None) -> Tensor:
        return self.preconditioning.denoise(network, x, sigma, None if given is None else given.mask)

"""The DDPM sampler recovers known distributions with the exact denoiser instead of a network.

The data lie within [-1, 1], to which the sampler clamps its estimates. The same two problems as for EDM (`test_edm`).
"""

import pytest
import torch
from linear_gaussian import LinearGaussian
from mixture import Mixture
from torch import Tensor

from dwm_ray.diffusion.ddpm import DDPMStride, Schedule, alpha_bars, posterior_jumps, stride_steps
from dwm_ray.diffusion.process import Impose

SCALE, SAMPLES = 0.5, 10_000


def identity(x: Tensor) -> Tensor:
    return x


def sampled(
    problem: Mixture | LinearGaussian, impose: Impose, size: int, num_steps: int, schedule: Schedule = "cosine"
) -> Tensor:
    signal = alpha_bars(schedule, num_steps)

    def estimate(x: Tensor, step: int) -> Tensor:
        remaining = float(signal[step])
        return problem.estimate(x, (1 - remaining) ** 0.5, remaining**0.5)

    solver = DDPMStride(posterior_jumps(signal, stride_steps(num_steps, num_steps)), temperature=1.0)
    return solver.sample(estimate, impose, (SAMPLES, size), torch.Generator().manual_seed(0))


@pytest.mark.parametrize(("dimensions", "schedule"), [(1, "cosine"), (2, "vp")])
def test_a_gaussian_mixture_is_recovered(dimensions: int, schedule: Schedule) -> None:
    """Mean, covariance and mode weights within .02, in 200 steps."""
    mixture = Mixture(dimensions, SCALE)
    sample = sampled(mixture, identity, dimensions, 200, schedule).double()
    torch.testing.assert_close(sample.mean(0), mixture.mean, atol=0.02, rtol=0)
    torch.testing.assert_close(torch.cov(sample.T).view(dimensions, -1), mixture.covariance, atol=0.02, rtol=0)
    torch.testing.assert_close(mixture.fractions(sample), mixture.weights, atol=0.02, rtol=0)


def test_states_given_start_and_actions_are_recovered() -> None:
    """Conditional mean of a linear-Gaussian system within .01, covariance within 8 %, in 500 steps (in 100, samples are
    20 % too narrow: the posterior given the clean estimate leaves that estimate's own doubt out)."""
    system = LinearGaussian(SCALE)
    sample = sampled(system, system.impose, system.size, 500)
    assert torch.equal(sample, system.impose(sample))
    mean, covariance = system.moments(sample)
    torch.testing.assert_close(mean, system.mean, atol=0.01, rtol=0)
    torch.testing.assert_close(covariance, system.covariance, atol=0, rtol=0.08)

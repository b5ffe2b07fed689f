"""Flow matching: golden numbers, and exact velocities from which the solver recovers known distributions."""

import pytest
import torch
from linear_gaussian import LinearGaussian
from mixture import Mixture
from torch import Tensor

from dwm_ray.diffusion.flow import Flow
from dwm_ray.diffusion.process import GivenEntries, Network

SAMPLES = 10_000


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def exact(problem: Mixture | LinearGaussian) -> Network:
    """Return the velocity (x - E[clean | x]) / t of x = (1 - t) clean + t noise."""

    def network(x: Tensor, level: Tensor) -> Tensor:
        time = float((level[0] + 1) / 2)
        return (x - problem.estimate(x, time, 1 - time)) / time

    return network


def test_noise_and_target_golden() -> None:
    clean, noise, level = torch.tensor([[1.0], [2.0]]), torch.tensor([[3.0], [-2.0]]), torch.tensor([0.25, 1.0])
    flow, seen = Flow(solver_steps=1), []

    def network(x: Tensor, level: Tensor) -> Tensor:
        seen.append(level)
        return torch.zeros_like(x)

    torch.testing.assert_close(flow.add_noise(clean, noise, level), torch.tensor([[1.5], [-2.0]]))
    error = flow.squared_error(network, clean, level, clean, noise, None)
    torch.testing.assert_close(error, torch.tensor([[4.0], [16.0]]))  # (noise - clean)^2
    torch.testing.assert_close(seen[0], torch.tensor([-0.5, 1.0]))
    assert torch.equal(flow.weight(level), torch.ones(2))


def test_training_levels_are_uniform() -> None:
    level = Flow(1).training_levels(40_000, generator())
    assert 0 <= float(level.min()) < 0.001
    assert 0.999 < float(level.max()) < 1
    assert float(level.std()) == pytest.approx(12**-0.5, rel=0.01)


def test_two_steps_golden() -> None:
    """dx/dt = x from t = 1 to 0: two steps halve x twice."""
    calls = []

    def network(x: Tensor, level: Tensor) -> Tensor:
        calls.append(float(level[0]))
        return x

    sample = Flow(2).sample(network, (3, 2), None, generator())
    torch.testing.assert_close(sample, 0.25 * torch.randn(3, 2, generator=generator()))
    assert calls == [1.0, 0.0]


def test_a_gaussian_mixture_is_recovered() -> None:
    mixture = Mixture(2)
    sample = Flow(100).sample(exact(mixture), (SAMPLES, 2), None, generator()).double()
    torch.testing.assert_close(sample.mean(0), mixture.mean, atol=0.03, rtol=0)
    torch.testing.assert_close(torch.cov(sample.T), mixture.covariance, atol=0.03, rtol=0)
    torch.testing.assert_close(mixture.fractions(sample), mixture.weights, atol=0.03, rtol=0)


def test_states_given_start_and_actions_are_recovered() -> None:
    system = LinearGaussian()
    mask = torch.arange(system.size) < len(system.given)
    given = GivenEntries(mask, system.impose(torch.zeros(1, system.size)))
    sample = Flow(100).sample(exact(system), (SAMPLES, system.size), given, generator())
    assert torch.equal(sample, system.impose(sample))
    mean, covariance = system.moments(sample)
    torch.testing.assert_close(mean, system.mean, atol=0.01, rtol=0)
    torch.testing.assert_close(covariance, system.covariance, atol=0, rtol=0.08)

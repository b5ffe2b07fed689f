"""Golden numbers of EDM's parts, and exact denoisers whose distributions the sampler has to recover."""

import math

import numpy as np
import pytest
import torch
from linear_gaussian import LinearGaussian
from mixture import Mixture
from torch import Tensor

from dwm_ray.diffusion.edm import EDM, Churn, Heun, Multistep, Preconditioning, karras_levels


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def identity(x: Tensor) -> Tensor:
    return x


def test_levels_golden() -> None:
    levels = karras_levels(5)
    high, low = 80 ** (1 / 7), 0.002 ** (1 / 7)
    assert levels == pytest.approx([(high + i / 4 * (low - high)) ** 7 for i in range(5)] + [0])
    assert levels[2] == pytest.approx(2.5152, abs=1e-4)
    assert karras_levels(1) == pytest.approx([80, 0])
    assert karras_levels(3, sigma_max=1.0)[0] == pytest.approx(1.0)
    assert karras_levels(3, sigma_max=0.001)[:-1] == pytest.approx([0.001] * 3)


def test_first_order_solver_and_temperature_golden() -> None:
    """Levels 4, 1 and 0, estimate x / 2: without extrapolation, x falls to 5/8 and then to half of that."""
    start = torch.zeros(3)
    noise = torch.randn(3, generator=generator())
    x = Multistep([4.0, 1.0, 0.0], temperature=0.5, second_order=False).sample(
        lambda x, sigma: x / 2, identity, start, generator()
    )
    torch.testing.assert_close(x, 4 * 0.5 * noise * 5 / 8 / 2)
    other = Multistep([4.0, 1.0, 0.25, 0.0], second_order=False).sample(
        lambda x, s: x / 2, identity, start, generator()
    )
    extrapolated = Multistep([4.0, 1.0, 0.25, 0.0]).sample(lambda x, s: x / 2, identity, start, generator())
    assert not torch.allclose(other, extrapolated)


def test_training_levels_are_log_normal() -> None:
    logs = EDM(Preconditioning(), Multistep([])).training_levels(40_000, generator()).log()
    assert float(logs.mean()) == pytest.approx(-1.2, abs=0.02)
    assert float(logs.std()) == pytest.approx(1.2, abs=0.02)


def test_preconditioning_golden() -> None:
    """Table 1 at sigma = 1.2 and sigma_data = .5: sigma^2 + sigma_data^2 = 1.69."""
    skip, out, shrink, noise = (float(x) for x in Preconditioning().scalings(torch.tensor(1.2)))
    assert (skip, out, shrink) == pytest.approx((0.25 / 1.69, 0.6 / 1.3, 1 / 1.3))
    assert noise == pytest.approx(math.log(1.2) / 4)
    assert float(Preconditioning().weight(torch.tensor(1.2))) == pytest.approx(1.69 / 0.36)


def test_network_gets_unit_variance_and_clean_given_entries() -> None:
    seen: list[Tensor] = []

    def network(x: Tensor, level: Tensor) -> Tensor:
        seen.append(x)
        return torch.ones_like(x)

    x, sigma = torch.tensor([[1.0, 2.0], [1.0, 2.0]]), torch.tensor([1.2, 0.5])
    given = torch.tensor([True, False])
    out = Preconditioning().denoise(network, x, sigma, given)
    Preconditioning(shrink_given=True).denoise(network, x, sigma, given)
    torch.testing.assert_close(seen[0], torch.tensor([[1.0, 2 / 1.3], [1.0, 2 / 0.5**0.5]]))
    torch.testing.assert_close(seen[1], torch.tensor([[1 / 1.3, 2 / 1.3], [1 / 0.5**0.5, 2 / 0.5**0.5]]))
    assert float(out[0, 1]) == pytest.approx(0.25 / 1.69 * 2 + 0.6 / 1.3)


def shrinking(x: Tensor, sigma: float) -> Tensor:
    """Exact denoiser of N(0, 1)."""
    return x / (1 + sigma**2)


def test_one_heun_step_golden() -> None:
    """From x = 2 at level 2 to level 1 with D = x / (1 + sigma^2), by hand: slope .8, moved 1.2, slope .6."""
    solver = Heun([2.0, 1.0, 0.0])
    step = solver._step(shrinking, identity, torch.tensor([2.0]), 2.0, 1.0)
    assert float(step) == pytest.approx(2 - (0.8 + 0.6) / 2)
    last = solver._step(shrinking, identity, torch.tensor([1.3]), 1.0, 0.0)  # Euler: the clean estimate
    assert float(last) == pytest.approx(0.65)


def test_two_multistep_steps_golden() -> None:
    """Levels 4, 2, 1 by hand, D = x / (1 + sigma^2): with equal strides the clean estimate is 1.5 D - .5 D_before."""
    x = torch.tensor([3.0])
    noise = torch.randn(1, generator=generator())
    sample = Multistep([4.0, 2.0, 1.0, 0.0]).sample(shrinking, identity, x, generator())
    x_4 = 3.0 + 4 * float(noise)
    x_2 = x_4 / 2 + x_4 / 17 / 2
    x_1 = x_2 / 2 + (1.5 * x_2 / 5 - 0.5 * x_4 / 17) / 2
    assert float(sample) == pytest.approx(x_1 / 2, rel=1e-5)


@pytest.mark.parametrize(("solver", "num_calls"), [(Heun(karras_levels(34)), 67), (Multistep(karras_levels(5)), 5)])
def test_network_calls_per_sample(solver: Heun | Multistep, num_calls: int) -> None:
    levels: list[float] = []

    def estimate(x: Tensor, sigma: float) -> Tensor:
        levels.append(sigma)
        return x

    solver.sample(estimate, identity, torch.zeros(1), generator())
    assert len(levels) == num_calls


def test_few_steps_do_not_overshoot_a_narrow_conditional() -> None:
    """In six or seven network calls, multistep stays within the scale of the states and Heun does not."""
    system, start = LinearGaussian(), torch.zeros(4000, LinearGaussian.size)
    heun, multistep = Heun(karras_levels(4)), Multistep(karras_levels(6))
    widths = [
        float(system.moments(solver.sample(system.estimate, system.impose, start, generator()))[1][0, 0])
        for solver in (heun, multistep)
    ]
    assert widths[0] > 4 * float(system.covariance[0, 0])
    assert widths[1] < 1.5 * float(system.covariance[0, 0])


def test_churn_golden() -> None:
    churn = Churn()
    assert churn.raised(1.0, 34) == pytest.approx(2**0.5)  # 60 / 34 is capped
    assert churn.raised(1.0, 600) == pytest.approx(1.1)
    assert [churn.raised(sigma, 34) for sigma in (0.36, 53.0)] == [0.36, 53.0]
    x, sigma = Heun([1.0, 0.0], churn)._churned(torch.zeros(40_000), 1.0, identity, generator())
    assert sigma == pytest.approx(min(60, 2**0.5))
    assert float(x.std()) == pytest.approx(1.002, rel=0.02)  # sqrt(2 - 1) * S_noise
    assert Heun([0.1, 0.0], churn)._churned(torch.ones(1), 0.1, identity, generator()) == (torch.ones(1), 0.1)


@pytest.mark.parametrize(("noisy_given", "worst"), [(False, 0.0), (True, 1.0)])
def test_only_the_public_codes_fault_shows_noisy_given_entries(noisy_given: bool, worst: float) -> None:
    errors: list[tuple[float, float]] = []

    def estimate(x: Tensor, sigma: float) -> Tensor:
        errors.append((sigma, float((x[:, 0] - 0.25).abs().max())))
        return torch.zeros_like(x)

    def impose(x: Tensor) -> Tensor:
        return torch.where(torch.tensor([True, False]), torch.tensor(0.25), x)

    solver = Heun(karras_levels(34), Churn(), noisy_given)
    sample = solver.sample(estimate, impose, torch.zeros(8, 2), generator())
    assert (sample[:, 0] == 0.25).all()
    assert len(errors) == 67
    assert max(error for _, error in errors) >= worst
    assert sum(error > 0 for _, error in errors) == (20 if noisy_given else 0)  # 20 of 34 steps are churned


def test_without_churn_only_the_start_is_random() -> None:
    solver, start = Heun(karras_levels(4)), torch.zeros(5, 2)
    first = solver.sample(shrinking, identity, start, generator(1))
    assert torch.equal(first, solver.sample(shrinking, identity, start, generator(1)))
    assert not torch.equal(first, solver.sample(shrinking, identity, start, generator(2)))


SOLVERS = {
    "churn": (Heun(karras_levels(34), Churn()), 0.13),
    "plain": (Heun(karras_levels(34)), 0.05),
    "multistep": (Multistep(karras_levels(67)), 0.05),
}
"""DyDiff's solver, the same without churn, and DPM-Solver++ at as many calls; with the share by which covariances may
be off. Heun's steps make samples too wide (12 plain steps: 35 % on the system below, 34: 4 %, 100: 1 %); 20 000 samples
have a standard error of 1 %."""

chosen = pytest.mark.parametrize(("solver", "spread"), SOLVERS.values(), ids=SOLVERS)


@chosen
@pytest.mark.parametrize("dimensions", [1, 2])
def test_a_gaussian_mixture_is_recovered(solver: Heun, spread: float, dimensions: int) -> None:
    """Mean within .03, mode weights within .02."""
    mixture = Mixture(dimensions)
    sample = solver.sample(mixture.estimate, identity, torch.zeros(20_000, dimensions), generator()).double()
    torch.testing.assert_close(sample.mean(0), mixture.mean, atol=0.03, rtol=0)
    torch.testing.assert_close(torch.cov(sample.T).view(dimensions, -1), mixture.covariance, atol=0, rtol=spread)
    torch.testing.assert_close(mixture.fractions(sample), mixture.weights, atol=0.02, rtol=0)


@chosen
def test_states_given_start_and_actions_are_recovered(solver: Heun, spread: float) -> None:
    """Conditional mean of a linear-Gaussian system within .01."""
    system = LinearGaussian()
    sample = solver.sample(system.estimate, system.impose, torch.zeros(20_000, system.size), generator())
    assert torch.equal(sample, system.impose(sample))
    mean, covariance = system.moments(sample)
    torch.testing.assert_close(mean, system.mean, atol=0.01, rtol=0)
    torch.testing.assert_close(covariance, system.covariance, atol=0, rtol=spread)


def test_the_public_codes_fault_widens_the_states() -> None:
    """Noise read as start and actions; later, unchurned steps of an exact denoiser mend most of it."""
    system = LinearGaussian()
    excess = []
    for noisy_given in (False, True):
        solver = Heun(karras_levels(34), Churn(), noisy_given)
        sample = solver.sample(system.estimate, system.impose, torch.zeros(20_000, system.size), generator())
        excess.append(system.moments(sample)[1] - system.covariance)
    assert (excess[1] > 1.15 * excess[0]).all()


def test_partial_noising_keeps_what_the_noise_cannot_hide() -> None:
    """Samples from a wrong mode return to it at a low first level and are redrawn from all modes at the highest."""
    mixture = Mixture(1)
    start = mixture.centers[:1].float().expand(4000, 1)
    low = Heun(karras_levels(6, sigma_max=0.3)).sample(mixture.estimate, identity, start, generator()).double()
    high = Heun(karras_levels(12)).sample(mixture.estimate, identity, start, generator()).double()
    assert mixture.fractions(low)[0] > 0.99
    torch.testing.assert_close(mixture.fractions(high), mixture.weights, atol=0.03, rtol=0)
    assert np.isclose(float(low.std()), mixture.std, rtol=0.25)

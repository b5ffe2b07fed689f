"""DDPM: golden numbers of schedules and posterior, and the sampler."""

import math

import pytest
import torch
from linear_gaussian import LinearGaussian
from mixture import Mixture
from torch import Tensor

from dwm_ray.diffusion.ddpm import (
    DDPMStride,
    Schedule,
    alpha_bars,
    cosine_betas,
    posterior_jumps,
    stride_steps,
    vp_betas,
)
from dwm_ray.diffusion.process import Impose


def test_cosine_golden_for_the_papers_five_steps() -> None:
    expected = [math.cos((k / 5 + 0.008) / 1.008 * math.pi / 2) ** 2 for k in range(5)]
    expected = [value / expected[0] for value in expected]
    expected.append(expected[4] * 0.001)  # the last beta would be 1: clipped at .999
    torch.testing.assert_close(alpha_bars("cosine", 5), torch.tensor(expected))
    assert float(cosine_betas(5)[-1]) == pytest.approx(0.999)


def test_vp_golden() -> None:
    torch.testing.assert_close(float(vp_betas(5)[0]), 1 - math.exp(-0.02 - 0.5 * 9.9 / 25))
    assert float(alpha_bars("vp", 5)[-1]) == pytest.approx(math.exp(-0.1 - 0.5 * 9.9))  # the exponents sum up


@pytest.mark.parametrize("schedule", ["cosine", "vp"])
@pytest.mark.parametrize("num_steps", [1, 5, 50])
def test_signal_falls_from_one_and_stays_positive(schedule: str, num_steps: int) -> None:
    signal = alpha_bars(schedule, num_steps)
    assert len(signal) == num_steps + 1
    assert signal[0] == 1
    assert (signal.diff() < 0).all()
    assert signal[-1] > 0


@pytest.mark.parametrize(
    ("diffusion_steps", "solver_steps", "expected"),
    [(5, 3, [5, 3, 1]), (5, 1, [5]), (5, 2, [5, 1]), (5, 5, [5, 4, 3, 2, 1]), (10, 4, [10, 7, 4, 1])],
)
def test_stride_is_equally_spaced_and_ends_at_k(diffusion_steps: int, solver_steps: int, expected: list[int]) -> None:
    assert stride_steps(diffusion_steps, solver_steps) == expected


def test_neighbouring_steps_give_ddpm_equations_6_and_7() -> None:
    signal = alpha_bars("cosine", 5).double()
    jump = posterior_jumps(signal, stride_steps(5, 5))[1]  # 4 -> 3
    beta = 1 - signal[4] / signal[3]
    assert jump.start == 4
    assert jump.clean == pytest.approx(float(signal[3].sqrt() * beta / (1 - signal[4])))
    assert jump.noisy == pytest.approx(float((1 - beta).sqrt() * (1 - signal[3]) / (1 - signal[4])))
    assert jump.std == pytest.approx(float((beta * (1 - signal[3]) / (1 - signal[4])).sqrt()))


@pytest.mark.parametrize("solver_steps", [1, 2, 3, 5])
def test_jumps_keep_the_forward_marginals(solver_steps: int) -> None:
    """x_k = sqrt(s_k) x0 + sqrt(1 - s_k) noise must become x_j with s_j: in mean and in variance."""
    signal = alpha_bars("cosine", 5).double()
    steps = stride_steps(5, solver_steps)
    for jump, after in zip(posterior_jumps(signal, steps), [*steps[1:], 0], strict=True):
        before_signal, after_signal = float(signal[jump.start]), float(signal[after])
        assert jump.clean + jump.noisy * before_signal**0.5 == pytest.approx(after_signal**0.5)
        variance = jump.noisy**2 * (1 - before_signal) + jump.std**2
        assert variance == pytest.approx(1 - after_signal, abs=1e-12)


def test_the_last_jump_is_the_clean_estimate() -> None:
    last = posterior_jumps(alpha_bars("vp", 7), stride_steps(7, 3))[-1]
    assert (last.clean, last.noisy, last.std) == (1.0, 0.0, 0.0)


def test_exact_estimates_of_a_gaussian_reproduce_it() -> None:
    """With the exact posterior mean of data N(.3, .05^2) and many steps, samples have that mean and deviation."""
    mean, std, signal = 0.3, 0.05, alpha_bars("cosine", 1000)

    def estimate(x: Tensor, step: int) -> Tensor:
        s = float(signal[step])
        return mean + std**2 * s**0.5 / (s * std**2 + 1 - s) * (x - s**0.5 * mean)

    solver = DDPMStride(posterior_jumps(signal, stride_steps(1000, 1000)), temperature=1.0)
    sample = solver.sample(estimate, lambda x: x, (20_000,), torch.Generator().manual_seed(0))
    assert float(sample.mean()) == pytest.approx(mean, abs=2e-3)
    assert float(sample.std()) == pytest.approx(std, rel=0.05)


def sample_recording(temperature: float) -> tuple[Tensor, list[Tensor]]:
    seen: list[Tensor] = []

    def estimate(x: Tensor, step: int) -> Tensor:
        seen.append(x.clone())
        return torch.full_like(x, 7.0)

    def impose(x: Tensor) -> Tensor:
        x[:, 0] = 0.25
        return x

    solver = DDPMStride(posterior_jumps(alpha_bars("cosine", 5), [5, 3, 1]), temperature)
    return solver.sample(estimate, impose, (6, 4), torch.Generator().manual_seed(3)), seen


def test_known_entries_are_never_noisy_and_estimates_are_clamped() -> None:
    sample, seen = sample_recording(temperature=1.0)
    assert len(seen) == 3
    assert all((x[:, 0] == 0.25).all() for x in [*seen, sample])
    assert (sample[:, 1:] == 1).all()


def test_temperature_scales_all_noise() -> None:
    _, cold = sample_recording(temperature=0.0)
    _, warm = sample_recording(temperature=0.5)
    _, hot = sample_recording(temperature=1.0)
    assert (cold[0][:, 1:] == 0).all()
    for c, w, h in zip(cold, warm, hot, strict=True):
        torch.testing.assert_close(2 * (w - c), h - c)


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

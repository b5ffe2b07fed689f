import math

import pytest
import torch

from dwm_ray.diffusion.schedules import alpha_bars, cosine_betas, vp_betas


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

"""Golden medians and ratios; common drift cancels."""

import numpy as np
import pytest

from dwm_ray.benchmarks.ratios import Spread, paired_ratio, rate_spread


def test_golden_spread() -> None:
    assert rate_spread([3.0, 9.0, 4.0]) == Spread(4.0, 3.0, 9.0)


def test_ratios_are_paired() -> None:
    drift = np.array([1.0, 10.0, 2.0, 7.0, 5.0])
    assert paired_ratio(list(3 * drift), list(drift)) == Spread(3.0, 3.0, 3.0)
    shuffled = drift[[1, 2, 3, 4, 0]]
    assert paired_ratio(list(3 * shuffled), list(drift)).median == np.median(3 * shuffled / drift) != 3


def test_the_interval_contains_the_ratio_grows_with_noise_and_is_deterministic() -> None:
    rng = np.random.default_rng(1)
    quiet, loud = (paired_ratio(list(2 * np.exp(scale * rng.normal(size=15))), [1.0] * 15) for scale in (0.01, 0.3))
    for ratio in (quiet, loud):
        assert ratio.low <= ratio.median <= ratio.high
    assert quiet.high - quiet.low < (loud.high - loud.low) / 5
    assert quiet.low == pytest.approx(2, rel=0.02)
    assert paired_ratio([1.0, 2.0, 4.0], [1.0] * 3) == paired_ratio([1.0, 2.0, 4.0], [1.0] * 3)


def test_the_interval_is_the_bootstrap_of_the_median() -> None:
    ratios = [1.0, 2.0, 4.0]
    medians = sorted(float(np.median([a, b, c])) for a in ratios for b in ratios for c in ratios)
    assert medians.count(1.0) / len(medians) > 0.025  # 7 of 27 resamples, so the interval reaches both ends
    assert paired_ratio(ratios, [1.0] * 3) == Spread(2.0, 1.0, 4.0)

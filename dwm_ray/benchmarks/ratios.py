"""What paired rates say: medians with their range, and ratios with an interval.

A ratio is the median over repeats of (rate of one / rate of the other in the same repeat), so drift that both share
cancels. Its interval is a percentile bootstrap over repeats. It tells how well this machine, now, determines the
ratio; it does not tell what another machine would measure.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

NUM_RESAMPLES = 2000
LEVEL = 0.95


@dataclass(frozen=True)
class Spread:
    """A median between two bounds."""

    median: float
    low: float
    high: float


def rate_spread(rates: list[float]) -> Spread:
    """Median, slowest and fastest of the repeats."""
    return Spread(float(np.median(rates)), min(rates), max(rates))


def paired_ratio(rates: list[float], reference: list[float]) -> Spread:
    """Median of the ratios repeat by repeat, with its bootstrap interval at `LEVEL`; the same for the same rates."""
    ratios = np.asarray(rates) / np.asarray(reference)
    rows = np.random.default_rng(0).integers(len(ratios), size=(NUM_RESAMPLES, len(ratios)))
    low, high = np.quantile(np.median(ratios[rows], axis=1), [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Spread(float(np.median(ratios)), float(low), float(high))

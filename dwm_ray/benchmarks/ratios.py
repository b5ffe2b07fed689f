"""Medians of rates, and ratios of paired rates with a confidence interval.

A ratio is the median over repeats of (rate of one / rate of the other in the same repeat), so that common drift
cancels. Its interval is a percentile bootstrap over repeats. The interval describes the uncertainty on this machine
now, not the ratio on another machine."""

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
    """Return the median, the slowest and the fastest rate."""
    return Spread(float(np.median(rates)), min(rates), max(rates))


def paired_ratio(rates: list[float], baseline: list[float]) -> Spread:
    """Return the median of the ratios per repeat with its bootstrap interval at `LEVEL`; deterministic."""
    ratios = np.asarray(rates) / np.asarray(baseline)
    rows = np.random.default_rng(0).integers(len(ratios), size=(NUM_RESAMPLES, len(ratios)))
    low, high = np.quantile(np.median(ratios[rows], axis=1), [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Spread(float(np.median(ratios)), float(low), float(high))

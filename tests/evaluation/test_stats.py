"""Statistics over runs and tasks: golden numbers, and what holds for all scores."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from dwm_ray.evaluation import stats

finite = arrays(np.float64, st.integers(1, 40), elements=st.floats(-1e4, 1e4))
A, B = np.array([1.0, 2.0, 3.0]), np.array([0.0, 2.0])


def rng(seed=0):
    return np.random.default_rng(seed)


def test_golden_interquartile_means():
    assert stats.interquartile_mean(np.array([100.0, 1.0, 2.0, -50.0])) == 1.5
    assert stats.interquartile_mean(np.array([3.0])) == 3.0
    assert stats.interquartile_mean(np.arange(10.0)) == pytest.approx(np.arange(2.0, 8.0).mean())


@given(finite)
def test_interquartile_mean_ignores_order_and_the_outermost_quarters(scores):
    result = stats.interquartile_mean(scores)
    assert scores.min() - 1e-6 <= result <= scores.max() + 1e-6
    assert result == stats.interquartile_mean(scores[::-1])
    if len(scores) >= 4:
        scores[scores.argmax()] = 1e9
        assert stats.interquartile_mean(scores) == result


def test_golden_mean_counts_tasks_and_iqm_counts_runs():
    assert stats.mean([A, B]) == pytest.approx((2.0 + 1.0) / 2)
    assert stats.iqm([A, B]) == pytest.approx((1.0 + 2.0 + 2.0) / 3)  # of 0 1 2 2 3 without the first and the last


def test_golden_probability_of_improvement():
    # 1 > 0, 1 < 2; 2 > 0, 2 = 2; 3 > both
    assert stats.improvement([A], [B]) == pytest.approx((1 + 0 + 1 + 0.5 + 1 + 1) / 6)
    assert stats.improvement([A, B], [B, A]) == pytest.approx(0.5)
    assert stats.improvement([A], [A]) == pytest.approx(0.5)


@given(finite, finite)
def test_improvement_of_each_over_the_other_is_one_together(ours, theirs):
    both = stats.improvement([ours], [theirs]) + stats.improvement([theirs], [ours])
    assert both == pytest.approx(1.0)


@given(finite)
def test_interval_is_ordered_and_inside_the_data(scores):
    result = stats.estimate(stats.iqm, [scores])
    if len(scores) == 1:
        assert (result["low"], result["high"]) == (None, None)
    else:
        assert scores.min() - 1e-6 <= result["low"] <= result["high"] <= scores.max() + 1e-6


def test_interval_repeats_itself_and_covers_the_mean():
    scores = [rng(1).normal(40.0, 5.0, size=60)]
    wide, again = (stats.estimate(stats.iqm, scores) for _ in range(2))
    assert wide == again
    assert wide["low"] < stats.iqm(scores) == wide["value"] < wide["high"]
    # standard error of a 25 % trimmed mean of 60 normal values is 5 * 1.09 / sqrt(60)
    assert wide["high"] - wide["low"] == pytest.approx(2 * 1.96 * 5 * 1.09 / np.sqrt(60), rel=0.35)


def test_mean_of_two_runs_has_the_three_values_of_its_bootstrap():
    sampled = stats.mean(stats.resamples([np.array([0.0, 1.0])], rng()))
    values, counts = np.unique(sampled, return_counts=True)
    assert values.tolist() == [0.0, 0.5, 1.0]
    assert counts / stats.NUM_RESAMPLES == pytest.approx([0.25, 0.5, 0.25], abs=0.04)


def test_resamples_stay_within_their_task():
    """Unstratified, the runs of one task would appear in the other's place."""
    low, high = stats.resamples([np.arange(5.0), 100 + np.arange(3.0)], rng())
    assert (low.shape, high.shape) == ((stats.NUM_RESAMPLES, 5), (stats.NUM_RESAMPLES, 3))
    assert low.max() == 4.0
    assert high.min() == 100.0
    # two tasks far apart, without spread of their own: strata leave nothing to vary
    far = stats.estimate(stats.mean, [np.zeros(3), np.full(3, 100.0)])
    assert far == {"value": 50.0, "low": 50.0, "high": 50.0}


def test_improvement_interval_resamples_both_methods():
    result = stats.estimate(stats.improvement, [np.array([1.0, 3.0])], [np.array([2.0, 2.0])])
    assert result == {"value": 0.5, "low": 0.0, "high": 1.0}
    sure = stats.estimate(stats.improvement, [np.array([5.0, 6.0])], [np.array([1.0, 2.0])])
    assert sure == {"value": 1.0, "low": 1.0, "high": 1.0}


def test_no_interval_where_any_task_has_a_single_run():
    assert stats.estimate(stats.mean, [A, np.ones(1)])["low"] is None
    assert stats.estimate(stats.improvement, [A], [np.ones(1)])["low"] is None


@pytest.mark.parametrize("scores", [[], [np.array([])], [A, np.array([])]])
def test_statistics_of_nothing_are_refused(scores):
    with pytest.raises(ValueError, match="expected one or more in each"):
        stats.estimate(stats.mean, scores)

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from dwm_ray.evaluation.scores import bootstrap_interval, interquartile_mean, summarize
from dwm_ray.tasks import task_for

finite = arrays(np.float64, st.integers(1, 40), elements=st.floats(-1e4, 1e4))


def test_golden_summary_on_halfcheetah():
    task = task_for("halfcheetah-medium", "HalfCheetah-v4", 5000.0)
    summary = summarize(np.array([-280.178953, 12135.0]), task)
    assert summary["score_mean"] == pytest.approx(50.0)
    assert summary["score_std"] == pytest.approx(50.0)
    assert summary["return_mean"] == pytest.approx(5927.4105235)
    assert summary["return_std"] == pytest.approx(6207.5894765)
    assert summary["episodes"] == 2


def test_spread_of_equal_returns_is_zero_where_the_reference_is_not():
    task = task_for("halfcheetah-medium", "HalfCheetah-v4", 5000.0)
    assert summarize(np.full(4, 4000.0), task)["score_std"] == 0.0


def test_task_without_references_is_scored_by_returns():
    summary = summarize(np.array([1.0, 3.0]), task_for("mine", "Mine-v0", 5.0))
    assert (summary["score_mean"], summary["score_std"]) == (2.0, 1.0)


def test_no_episodes_are_refused():
    with pytest.raises(ValueError, match="no episodes"):
        summarize(np.array([]), task_for("mine", "Mine-v0", 5.0))


def test_golden_interquartile_means():
    assert interquartile_mean(np.array([100.0, 1.0, 2.0, -50.0])) == 1.5
    assert interquartile_mean(np.array([3.0])) == 3.0
    assert interquartile_mean(np.arange(10.0)) == pytest.approx(np.arange(2.0, 8.0).mean())


@given(finite)
def test_interquartile_mean_ignores_order_and_the_outermost_quarters(scores):
    iqm = interquartile_mean(scores)
    assert scores.min() - 1e-6 <= iqm <= scores.max() + 1e-6
    assert iqm == interquartile_mean(scores[::-1])
    if len(scores) >= 4:
        scores[scores.argmax()] = 1e9
        assert interquartile_mean(scores) == iqm


@given(finite, st.floats(0.05, 0.99))
def test_interval_is_ordered_and_inside_the_data(scores, level):
    low, high = bootstrap_interval(scores, np.random.default_rng(0), level)
    assert scores.min() - 1e-6 <= low <= high <= scores.max() + 1e-6


def test_interval_repeats_itself_widens_with_level_and_covers_the_mean():
    scores = np.random.default_rng(1).normal(40.0, 5.0, size=60)
    narrow, wide, again = (bootstrap_interval(scores, np.random.default_rng(0), level) for level in (0.5, 0.95, 0.95))
    assert wide == again
    assert wide[0] < narrow[0] < interquartile_mean(scores) < narrow[1] < wide[1]
    # standard error of a 25 % trimmed mean of 60 normal values is 5 * 1.09 / sqrt(60)
    assert wide[1] - wide[0] == pytest.approx(2 * 1.96 * 5 * 1.09 / np.sqrt(60), rel=0.35)


@pytest.mark.parametrize(("scores", "level"), [([], 0.95), ([1.0], 1.0)])
def test_impossible_interval_is_refused(scores, level):
    with pytest.raises(ValueError, match="expected scores and a level"):
        bootstrap_interval(np.array(scores), np.random.default_rng(0), level)

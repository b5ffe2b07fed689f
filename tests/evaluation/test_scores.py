import numpy as np
import pytest

from dwm_ray.evaluation.scores import summarize
from dwm_ray.tasks.table import task_for


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

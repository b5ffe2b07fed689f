"""Return-to-go of start pairs: absolute, or relative to the labels of the data."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from recordings import episodes

from dwm_ray.data.targets import labels_text, outside, relative_targets, start_labels
from dwm_ray.data.transitions import real_segments
from dwm_ray.options import SynthesisConfig

CPU = torch.device("cpu")
LABELS = np.array([-2.0, -0.5, 0.0, 1.0, 3.0], np.float32)


def test_labels_are_those_of_the_start_pairs() -> None:
    recorded = episodes([2, 2], [True, False], with_next=False)  # rewards 1 2, 3 4; the last row is no start pair
    labels = start_labels(recorded, 0.5, 10.0, "episode", 8)
    assert len(labels) == len(real_segments(recorded, 0.5))
    np.testing.assert_allclose(labels, np.array([1 + 0.5 * 2, 2, 3 + 0.5 * 4], np.float32) / 10)
    np.testing.assert_allclose(start_labels(recorded, 0.5, 10.0, "window", 1), np.array([1, 2, 3], np.float32) / 10)


def test_targets() -> None:
    assert relative_targets(0.7, LABELS, CPU) == 0.7
    assert relative_targets("q0.5", LABELS, CPU) == 0.0
    assert relative_targets("q1", LABELS, CPU) == 3.0
    own, factor = (relative_targets(target, LABELS, CPU) for target in ("own", "x1.2"))
    assert isinstance(own, torch.Tensor)
    assert isinstance(factor, torch.Tensor)
    assert own.tolist() == LABELS.tolist()
    torch.testing.assert_close(factor, torch.tensor([-1.6, -0.4, 0.0, 1.2, 3.6]))


def test_numbers_outside_of_the_labels() -> None:
    assert [outside(target, LABELS) for target in (-2.1, 3.0, 3.1, "x2", "own")] == [True, False, True, False, False]
    assert labels_text(LABELS, 1200.0) == "return-to-go labels -2 to 3, median 0 (in units of 1200)"


@pytest.mark.parametrize("word", [0.5, -1.0, "own", "q0", "q0.95", "x0.8"])
def test_targets_are_read_back(word: float | str) -> None:
    assert SynthesisConfig(target_rtg=word).target_rtg == word
    assert SynthesisConfig.model_validate_json(SynthesisConfig(target_rtg=word).model_dump_json()).target_rtg == word


def test_numbers_may_be_words() -> None:
    assert SynthesisConfig(target_rtg="0.5") == SynthesisConfig(target_rtg=0.5)
    assert SynthesisConfig(target_rtg=1).model_dump_json() == SynthesisConfig(target_rtg=1.0).model_dump_json()


@pytest.mark.parametrize("word", ["best", "q1.5", "q-1", "x-1", "x", "", "nan", "xinf", "0.5 0.6"])
def test_other_words_are_refused(word: str) -> None:
    with pytest.raises(ValueError, match=r"expected a number, own, a quantile \(q0.9\) or a factor \(x1.2\)"):
        SynthesisConfig(target_rtg=word)

"""Contract of filters: these tests run for every filter that the registry finds."""

import pytest
import torch
from agent_problems import rng, segments
from hypothesis import given, settings
from hypothesis import strategies as st

from dwm_ray.filters.base import num_selected
from dwm_ray.registry import find, plugins
from dwm_ray.types import Segments

RATIOS = {"keep_ratio", "quantile"}
"""Options that set the fraction of a block that is selected; a filter has at most one of them."""

pytestmark = pytest.mark.parametrize("name", list(plugins("filters")))


def selected(name: str, block: Segments, seed: int = 0, **options: float) -> list[int]:
    cls = find("filters", name)
    rows: list[int] = cls(cls.Config(**options)).select(block, rng(seed)).tolist()
    return rows


@settings(max_examples=30)
@given(size=st.integers(1, 50), seed=st.integers(0, 99))
def test_rows_are_distinct_indices_and_at_least_one(name: str, size: int, seed: int) -> None:
    rows = selected(name, segments(size, seed=seed), seed)
    assert 1 <= len(rows) == len(set(rows)) <= size
    assert set(rows) <= set(range(size))


def test_same_seed_gives_the_same_rows_without_hidden_randomness(name: str) -> None:
    torch.manual_seed(1)
    first = selected(name, segments(40))
    torch.manual_seed(2)
    assert selected(name, segments(40)) == first


def test_segments_are_not_changed(name: str) -> None:
    block, untouched = segments(20), segments(20)
    selected(name, block)
    torch.testing.assert_close(block.tensors(), untouched.tensors(), rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("ratio", [0.01, 0.25, 0.5, 1.0])
def test_the_ratio_decides_how_many_rows_are_selected(name: str, ratio: float) -> None:
    config = find("filters", name).Config
    options = RATIOS & config.model_fields.keys()
    if not options:
        assert sorted(selected(name, segments(40))) == list(range(40))
        assert config().selected_fraction == 1
        return
    (option,) = options
    assert abs(len(selected(name, segments(40), **{option: ratio})) - max(1, round(40 * ratio))) <= 1
    assert config(**{option: ratio}).selected_fraction == ratio


def test_keep_ratio_is_exact(name: str) -> None:
    if "keep_ratio" in find("filters", name).Config.model_fields:
        assert len(selected(name, segments(41), keep_ratio=0.3)) == num_selected(41, 0.3) == 12


def test_selected_rows_are_not_worse_on_average(name: str) -> None:
    block = segments(400)
    score = -block.penalty.amax(1) if find("filters", name).per_transition else block.reward_sum()
    assert score[selected(name, block)].mean() >= score.mean() - 1e-6


def test_one_segment_and_equal_scores_are_no_special_case(name: str) -> None:
    assert selected(name, segments(1)) == [0]
    assert len(selected(name, segments(1)[torch.zeros(10, dtype=torch.long)])) >= 1

"""What every filter keeps to: this file runs over all that the registry finds."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dwm_ray.config import RunConfig
from dwm_ray.filters.base import Filter, num_selected, trajectory_score
from dwm_ray.registry import find, plugins
from dwm_ray.types import Segments

SHARES = {"keep_ratio", "quantile"}
"""Options that say which share of a block stays; a filter has one of them at most."""

pytestmark = pytest.mark.parametrize("name", list(plugins("filters")))


def build(name: str, **options: float) -> Filter:
    cls = find("filters", name)
    chosen: Filter = cls(cls.Config(**options))
    return chosen


def block(size: int, seed: int = 0) -> Segments:
    rng = torch.Generator().manual_seed(seed)
    return Segments(
        obs=torch.randn(size, 4, 2, generator=rng),
        act=torch.randn(size, 1, 1, generator=rng),
        rew=torch.randn(size, 3, generator=rng),
        discount=torch.full((size, 3), 0.99),
        penalty=torch.rand(size, 3, generator=rng),
        source=torch.ones(size),
    )


def trust(segments: Segments) -> torch.Tensor:
    """[B] what a filter of transitions prefers: little disagreement in the worst step."""
    return -segments.penalty.amax(1)


def chosen_by(name: str, segments: Segments, seed: int = 0, **options: float) -> list[int]:
    return build(name, **options).select(segments, torch.Generator().manual_seed(seed)).tolist()


@pytest.mark.parametrize("preset", ["paper", "small"])
def test_presets_survive_json_in_a_run(name: str, preset: str) -> None:
    config = find("filters", name).Config.preset(preset)
    run = RunConfig(agent="td3_bc", filter=config)
    assert RunConfig.model_validate_json(run.model_dump_json()) == run
    assert run.model_dump(mode="json")["filter"]["name"] == config.plugin_name() == name


@settings(max_examples=30)
@given(size=st.integers(1, 50), seed=st.integers(0, 99))
def test_rows_are_indices_without_repetition_and_at_least_one(name: str, size: int, seed: int) -> None:
    rows = chosen_by(name, block(size, seed), seed)
    assert 1 <= len(rows) == len(set(rows)) <= size
    assert set(rows) <= set(range(size))


def test_same_seed_same_rows_and_no_hidden_randomness(name: str) -> None:
    torch.manual_seed(1)
    first = chosen_by(name, block(40))
    torch.manual_seed(2)
    assert chosen_by(name, block(40)) == first


def test_segments_are_not_changed(name: str) -> None:
    segments, untouched = block(20), block(20)
    chosen_by(name, segments)
    assert all(torch.equal(value, getattr(untouched, key)) for key, value in vars(segments).items())


@pytest.mark.parametrize("share", [0.01, 0.25, 0.5, 1.0])
def test_the_share_decides_how_many(name: str, share: float) -> None:
    options = SHARES & find("filters", name).Config.model_fields.keys()
    if not options:
        assert sorted(chosen_by(name, block(40))) == list(range(40))
        return
    (option,) = options
    assert abs(len(chosen_by(name, block(40), **{option: share})) - max(1, round(40 * share))) <= 1


def test_a_ratio_is_kept_exactly(name: str) -> None:
    if "keep_ratio" in find("filters", name).Config.model_fields:
        assert len(chosen_by(name, block(41), keep_ratio=0.3)) == num_selected(41, 0.3) == 12


def test_what_is_left_out_is_not_better_on_average(name: str) -> None:
    segments = block(400)
    score = trust(segments) if find("filters", name).per_transition else trajectory_score(segments)
    assert score[chosen_by(name, segments)].mean() >= score.mean() - 1e-6


def test_one_segment_and_equal_scores_are_no_special_case(name: str) -> None:
    assert chosen_by(name, block(1)) == [0]
    equal = block(1)[torch.zeros(10, dtype=torch.long)]
    assert len(chosen_by(name, equal)) >= 1

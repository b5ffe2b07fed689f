"""Contract of every world model: generated segments."""

from dataclasses import replace

import pytest
import torch
from outside import trained_models
from tiny_models import (
    CENTRE,
    REW_CENTRE,
    SPACES,
    build,
    first_steps,
    horizon_of,
    imagined,
    recorded_actions,
    same,
    starts,
)
from torch import Tensor

from dwm_ray.blocks.micro_batching import MicroBatching
from dwm_ray.registry import find
from dwm_ray.world_models.base import WorldModel

pytestmark = pytest.mark.parametrize("name", trained_models())


@pytest.mark.parametrize("longest", [1, 3, 12])
def test_segments_have_the_promised_shapes(name: str, longest: int) -> None:
    model = build(name)
    horizon = min(longest, model.max_horizon)
    segments = imagined(model, horizon=horizon)
    assert segments.obs.shape == (8, horizon + 1, 3)
    assert segments.act.shape in [(8, 1, 2), (8, horizon, 2)]
    assert segments.rew.shape == segments.discount.shape == segments.penalty.shape == (8, horizon)
    assert torch.equal(segments.source, torch.ones(8))
    assert (segments.penalty >= 0).all()
    assert all(value.isfinite().all() and not value.requires_grad for value in segments.tensors().values())


def test_a_termination_is_final(name: str) -> None:
    """Discounts are 1, and 0 from a termination on."""
    discount = imagined(build(name), batch=64).discount
    assert ((discount == 0) | (discount == 1)).all()
    assert (discount[:, 1:] <= discount[:, :-1]).all()


def test_segments_start_with_the_start_pair_if_declared(name: str) -> None:
    model = build(name)
    segments, (obs, act) = imagined(model), starts()
    assert torch.equal(segments.obs[:, 0], obs) is model.starts_from_data
    assert torch.equal(segments.act[:, 0], act) is model.starts_from_data


def test_steps_are_transitions_if_declared(name: str) -> None:
    model = build(name)
    segments = imagined(model)
    if model.makes_transitions:
        assert 8 <= len(segments.transitions()) <= 8 * segments.horizon
    if model.makes_transitions or model.follows_policy:
        assert segments.act.shape[1] == segments.horizon


def test_the_policy_gives_later_actions_or_is_not_called(name: str) -> None:
    """It is called for all rows at once, with steps 1..H, so that recorded actions can replace it."""
    model, (obs, act) = build(name), starts()
    horizon, called = horizon_of(model), set()
    recorded = recorded_actions(8, horizon)

    def policy(states: Tensor, step: int) -> Tensor:
        called.add(step)
        assert states.shape == (8, 3)
        return recorded[:, step]

    segments = model.imagine(
        obs, act, policy=policy, horizon=horizon, rtg=0.5, generator=torch.Generator().manual_seed(0)
    )
    if model.follows_policy:
        assert set(range(1, horizon)) <= called <= set(range(1, horizon + 1))
        assert torch.equal(segments.act[:, 1:], recorded[:, 1:horizon])
    else:
        assert not called
        assert same(segments, imagined(model))


def test_a_missing_policy_is_refused(name: str) -> None:
    model, (obs, act) = build(name), starts()
    if model.follows_policy:
        with pytest.raises(ValueError, match=f"policy: missing; expected one.* {name}"):
            model.imagine(obs, act, policy=None, horizon=3, rtg=0.5, generator=torch.Generator())


def test_segments_are_in_raw_units(name: str) -> None:
    segments = imagined(build(name))
    assert (segments.obs - CENTRE).abs().max() < 30
    assert (segments.rew - REW_CENTRE).abs().max() < 30


def test_same_seed_same_bytes_and_no_hidden_randomness(name: str) -> None:
    model = build(name)
    torch.manual_seed(1)
    first = imagined(model)
    torch.manual_seed(2)
    assert same(imagined(model), first)


def test_return_to_go_is_a_number_or_one_per_row(name: str) -> None:
    assert same(imagined(build(name), rtg=0.5), imagined(build(name), rtg=torch.full((8,), 0.5)))


def test_return_to_go_matters_if_declared(name: str) -> None:
    model = build(name)
    assert same(imagined(model, rtg=0.5), imagined(model, rtg=0.9)) is not model.uses_rtg


def test_a_prefix_is_a_shorter_call(name: str) -> None:
    """One stream serves every shorter horizon."""
    model = build(name)
    if model.sees_future_actions:
        pytest.skip("states depend on later actions")
    long, short = imagined(model).prefix(1), imagined(model, horizon=1)
    for key, value in short.tensors().items():
        torch.testing.assert_close(getattr(long, key), value, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("beyond", [0, 1])
def test_a_horizon_that_is_too_short_or_too_long_is_refused(name: str, beyond: int) -> None:
    model = build(name)
    obs, act = starts()
    horizon = model.max_horizon + 1 if beyond else 0
    message = rf"horizon: got {horizon}; expected 1\.\.{model.max_horizon} \(world_model\.\w+\)"
    with pytest.raises(ValueError, match=message):
        model.imagine(
            obs, act, policy=lambda o, i: act[: len(o)], horizon=horizon, rtg=0.0, generator=torch.Generator()
        )


def continuing(name: str) -> WorldModel:
    """Return a model that continues from recorded first steps; skip the test for models that cannot."""
    model = build(name)
    if "first_step" not in model.config.SAMPLING:
        pytest.skip("imagines every step")
    return model.with_options({"first_step": "recorded"})


def test_the_recorded_first_step_is_exact_and_final_where_it_terminates(name: str) -> None:
    model, recorded = continuing(name), first_steps(60)
    segments = imagined(model, batch=60, first=recorded)
    assert torch.equal(segments.obs[:, :2], recorded.obs)
    assert torch.equal(segments.rew[:, :1], recorded.rew)
    assert torch.equal(segments.discount[:, 0], (recorded.discount[:, 0] > 0).float())
    assert 0 < (recorded.discount == 0).sum() < 60
    assert (segments.discount[:, 1:] <= segments.discount[:, :-1]).all()
    assert (segments.penalty[:, 0] == 0).all()
    assert torch.equal(imagined(model, first=first_steps(), horizon=1).obs, first_steps().obs)


def test_the_imagined_form_ignores_the_recorded_first_step(name: str) -> None:
    """Also models that declare no such option, and calls without a recorded step."""
    model = build(name)
    if "first_step" in model.config.SAMPLING:
        model = model.with_options({"first_step": "imagined"})
        assert same(imagined(model), imagined(continuing(name)))
    assert same(imagined(model), imagined(model, first=first_steps()))
    assert getattr(find("world_models", name).Config(), "first_step", "imagined") == "imagined"


def test_later_steps_continue_from_the_recorded_state(name: str) -> None:
    model, recorded = continuing(name), first_steps()
    elsewhere = replace(recorded, obs=recorded.obs + torch.tensor([[[0.0], [0.5]]]))
    here, there = (imagined(model, first=first) for first in (recorded, elsewhere))
    assert not torch.equal(here.obs[:, 2], there.obs[:, 2])


def test_micro_batches_equal_the_whole_batch(name: str) -> None:
    """A sampler short of memory generates the same rows."""
    model, (obs, act) = build(name), starts(100)
    batching = MicroBatching()
    batching.max_rows = 37
    actions = torch.tensor(SPACES.act_low) + torch.rand(2, generator=torch.Generator().manual_seed(9))
    whole, parts = (
        imaginer.imagine(
            obs,
            act,
            policy=lambda obs, step: actions.expand(len(obs), 2),
            horizon=horizon_of(model),
            rtg=torch.linspace(0, 1, 100),
            first=first_steps(100),
            generator=torch.Generator().manual_seed(0),
        )
        for imaginer in (model, batching.wrap(model))
    )
    for key, value in whole.tensors().items():
        assert torch.allclose(getattr(parts, key), value, rtol=0, atol=5e-3), key

"""What every world model keeps to: this file runs over all that the registry finds."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from dwm_ray.config import RunConfig
from dwm_ray.data.windows import WindowSet
from dwm_ray.halving import Halving
from dwm_ray.registry import find, plugins
from dwm_ray.types import DataCard, Episodes, Segments, Spaces, Windows
from dwm_ray.world_models.base import WorldModel
from dwm_ray.world_models.store import load_model, save_model

SPACES = Spaces(obs_size=3, act_size=2, act_low=(-1.0, 0.0), act_high=(1.0, 4.0))
CENTRE, REW_CENTRE = 1000.0, -500.0
"""Raw units far from what networks work in: a model that forgets a normaliser misses them by hundreds."""

pytestmark = pytest.mark.parametrize("name", list(plugins("world_models")))


@cache
def episodes(num_episodes: int = 6, length: int = 20) -> Episodes:
    rng, num = np.random.default_rng(0), num_episodes * length
    walk = rng.normal(size=(num_episodes, length + 1, 3)).cumsum(1) * 0.2 + CENTRE
    last = np.tile(np.arange(length) == length - 1, num_episodes)
    half = np.arange(num) < num // 2
    return Episodes(
        obs=walk[:, :-1].reshape(-1, 3).astype(np.float32),
        act=rng.uniform(SPACES.act_low, SPACES.act_high, (num, 2)).astype(np.float32),
        rew=rng.normal(REW_CENTRE, 1, num).astype(np.float32),
        next_obs=walk[:, 1:].reshape(-1, 3).astype(np.float32),
        terminated=last & half,
        truncated=last & ~half,
        known_next=~last | half,
        card=DataCard("walk", "made by a test", "", "Walk-v0", "0" * 16),
        spaces=SPACES,
    )


@cache
def build(name: str) -> WorldModel:
    torch.manual_seed(0)
    cls = find("world_models", name)
    model: WorldModel = cls(cls.Config.preset("small"), SPACES)
    model.fit_normalizers(episodes())
    return model


def windows(model: WorldModel, batch: int = 32) -> Windows:
    drawn = WindowSet(episodes(), model.sequence_length, 0.99, 100.0)
    return drawn.sample(batch, torch.Generator().manual_seed(0))


def starts(batch: int = 8) -> tuple[Tensor, Tensor]:
    return torch.from_numpy(episodes().obs[:batch]), torch.from_numpy(episodes().act[:batch])


def horizon_of(model: WorldModel) -> int:
    return min(3, model.max_horizon)


def recorded_actions(rows: int, horizon: int) -> Tensor:
    """[B, H + 1, A] within the bounds, all different."""
    low, high = torch.tensor(SPACES.act_low), torch.tensor(SPACES.act_high)
    return low + (high - low) * torch.rand(rows, horizon + 1, 2, generator=torch.Generator().manual_seed(9))


def imagined(
    model: WorldModel, seed: int = 0, batch: int = 8, rtg: float | Tensor = 0.5, horizon: int | None = None
) -> Segments:
    """Segments under recorded actions, indexed by step, where the model follows a policy."""
    obs, act = starts(batch)
    horizon = horizon or horizon_of(model)
    recorded = recorded_actions(batch, horizon)
    return model.imagine(
        obs,
        act,
        policy=(lambda obs, step: recorded[:, step]) if model.follows_policy else None,
        horizon=horizon,
        rtg=rtg,
        generator=torch.Generator().manual_seed(seed),
    )


def same(first: Segments, second: Segments) -> bool:
    return all(torch.equal(value, getattr(second, key)) for key, value in vars(first).items())


def other_value(value: Any) -> Any:
    """Another value of an option, of the same type and near enough to be valid."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, str):
        return {"fp32": "bf16", "bf16": "fp32", "auto": "fp32"}[value]
    return value - 1 if isinstance(value, int) and value > 1 else value + 1 if isinstance(value, int) else value / 2


@pytest.mark.parametrize("preset", ["paper", "small"])
def test_presets_survive_json_in_a_run(name: str, preset: str) -> None:
    config = find("world_models", name).Config.preset(preset)
    run = RunConfig(world_model=config, agent="td3_bc", filter="keep_all", synthesis={"horizon": 1})
    assert RunConfig.model_validate_json(run.model_dump_json()) == run
    assert run.model_dump(mode="json")["world_model"]["name"] == config.plugin_name() == name


def test_unknown_options_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="no_such_option"):
        find("world_models", name).Config(no_such_option=1)


def test_loss_is_a_finite_scalar_that_reaches_the_weights(name: str) -> None:
    model = build(name)
    model.zero_grad()
    loss, metrics = model.loss(windows(model), torch.Generator().manual_seed(0))
    loss.backward()
    assert loss.ndim == 0
    assert loss.isfinite()
    assert all(value.ndim == 0 and value.isfinite() and not value.requires_grad for value in metrics.values())
    reached = [p.grad for p in model.parameters() if p.grad is not None]
    assert reached
    assert all(gradient.isfinite().all() for gradient in reached)
    assert any(gradient.abs().sum() > 0 for gradient in reached)


def test_loss_is_finite_where_almost_nothing_is_recorded(name: str) -> None:
    """The last window of a truncated episode has one state and no next one."""
    model = build(name)
    last = windows(model, 1)
    alone = torch.zeros_like(last.step_mask)
    alone[:, 0] = True
    loss, _ = model.loss(replace(last, step_mask=alone, obs_mask=alone), torch.Generator().manual_seed(0))
    assert loss.isfinite()


def test_loss_draws_from_its_generator_only(name: str) -> None:
    model = build(name)
    losses = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        losses.append(model.loss(windows(model), torch.Generator().manual_seed(0))[0].item())
    assert losses[0] == losses[1]


def test_training_lowers_the_loss(name: str) -> None:
    model = build(name)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)
    losses = []
    for _ in range(30):
        optimizer.zero_grad()
        loss, _ = model.loss(windows(model), torch.Generator().manual_seed(0))
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    model.load_state_dict(before)
    assert losses[-1] < losses[0]


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
    assert all(value.isfinite().all() and not value.requires_grad for value in vars(segments).values())


def test_a_model_ends_the_task_once_or_not_at_all(name: str) -> None:
    """Discounts are 1, and 0 from the step on that ends the task."""
    discount = imagined(build(name), batch=64).discount
    assert ((discount == 0) | (discount == 1)).all()
    assert (discount[:, 1:] <= discount[:, :-1]).all()


def test_segments_begin_with_the_start_pair_unless_the_model_makes_its_own(name: str) -> None:
    model = build(name)
    segments, (obs, act) = imagined(model), starts()
    assert torch.equal(segments.obs[:, 0], obs) is model.keeps_start
    assert torch.equal(segments.act[:, 0], act) is model.keeps_start


def test_steps_are_transitions_where_the_model_says_so(name: str) -> None:
    model = build(name)
    segments = imagined(model)
    if model.makes_transitions:
        assert 8 <= len(segments.transitions()) <= 8 * segments.horizon
    if model.makes_transitions or model.follows_policy:
        assert segments.act.shape[1] == segments.horizon


def test_the_policy_gives_later_actions_or_is_never_asked(name: str) -> None:
    """It is asked for all rows at once, for steps 1..H, so that recorded actions can stand in for it."""
    model, (obs, act) = build(name), starts()
    horizon, asked = horizon_of(model), set()
    recorded = recorded_actions(8, horizon)

    def policy(states: Tensor, step: int) -> Tensor:
        asked.add(step)
        assert states.shape == (8, 3)
        return recorded[:, step]

    segments = model.imagine(
        obs, act, policy=policy, horizon=horizon, rtg=0.5, generator=torch.Generator().manual_seed(0)
    )
    if model.follows_policy:
        assert set(range(1, horizon)) <= asked <= set(range(1, horizon + 1))
        assert torch.equal(segments.act[:, 1:], recorded[:, 1:horizon])
    else:
        assert not asked
        assert same(segments, imagined(model))


def test_a_model_that_follows_a_policy_says_when_there_is_none(name: str) -> None:
    model, (obs, act) = build(name), starts()
    if model.follows_policy:
        with pytest.raises(ValueError, match="policy"):
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


def test_rtg_is_one_number_or_one_a_row(name: str) -> None:
    assert same(imagined(build(name), rtg=0.5), imagined(build(name), rtg=torch.full((8,), 0.5)))


def test_return_to_go_matters_exactly_where_the_model_says_so(name: str) -> None:
    model = build(name)
    assert same(imagined(model, rtg=0.5), imagined(model, rtg=0.9)) is not model.uses_rtg


@pytest.mark.parametrize("beyond", [0, 1])
def test_a_horizon_that_is_too_short_or_too_long_is_refused(name: str, beyond: int) -> None:
    model = build(name)
    obs, act = starts()
    horizon = model.max_horizon + 1 if beyond else 0
    with pytest.raises(ValueError, match="horizon"):
        model.imagine(
            obs, act, policy=lambda o, i: act[: len(o)], horizon=horizon, rtg=0.0, generator=torch.Generator()
        )


def test_same_bytes_after_saving_and_loading(name: str, tmp_path: Path) -> None:
    model = build(name)
    save_model(tmp_path, model, {})
    loaded = load_model(tmp_path)
    assert loaded.config == model.config
    assert loaded.spaces == model.spaces
    assert same(imagined(loaded), imagined(model))


def test_sampling_options_do_not_decide_the_weights_and_all_others_do(name: str) -> None:
    config = find("world_models", name).Config
    assert set(config.SAMPLING) <= set(config.model_fields)
    assert set(config().training_options()) == set(config.model_fields) - set(config.SAMPLING)


def test_other_sampling_options_leave_the_model_as_it_was(name: str) -> None:
    model = build(name)
    before, config = imagined(model), model.config
    options = {key: other_value(getattr(config, key)) for key in config.SAMPLING}
    other = model.with_options(options)
    imagined(other)
    assert {key: getattr(other.config, key) for key in options} == options
    assert model.config is config
    assert same(imagined(model), before)
    assert all(value is dict(model.named_parameters())[key] for key, value in other.named_parameters())


def test_initial_weights_follow_from_the_seed(name: str) -> None:
    cls = find("world_models", name)
    first, again, other = (cls(cls.Config.preset("small").model_copy(update={"seed": s}), SPACES) for s in (0, 0, 1))
    pairs = list(zip(first.parameters(), again.parameters(), strict=True))
    assert all(torch.equal(*pair) for pair in pairs)
    assert any(not torch.equal(a, b) for a, b in zip(first.parameters(), other.parameters(), strict=True))


def test_parts_of_a_batch_are_what_the_whole_would_be(name: str) -> None:
    """`halving`: a sampler short of memory draws the rows that it would draw with enough."""
    model, (obs, act) = build(name), starts(100)
    halving = Halving()
    halving.most_rows = 37
    actions = torch.tensor(SPACES.act_low) + torch.rand(2, generator=torch.Generator().manual_seed(9))
    whole, parts = (
        imaginer.imagine(
            obs,
            act,
            policy=(lambda obs, step: actions.expand(len(obs), 2)) if model.follows_policy else None,
            horizon=horizon_of(model),
            rtg=torch.linspace(0, 1, 100),
            generator=torch.Generator().manual_seed(0),
        )
        for imaginer in (model, halving.of(model))
    )
    for key, value in vars(whole).items():
        assert torch.allclose(getattr(parts, key), value, rtol=0, atol=5e-3), key

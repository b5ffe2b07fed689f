"""Contract of every world model: options, training and storage."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from outside import trained_models
from tiny_models import SPACES, build, episodes, first_steps, imagined, same, windows

from dwm_ray.data.statistics import data_stats
from dwm_ray.data.task_data import TaskData
from dwm_ray.data.windows import WindowSet
from dwm_ray.registry import find
from dwm_ray.tasks.table import task_for
from dwm_ray.training.fit_world_model import measure_error
from dwm_ray.training.stores import load_model, save_model

pytestmark = pytest.mark.parametrize("name", trained_models())


def other_value(value: Any) -> Any:
    """Return another valid value of an option, of the same type."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, str):
        others = {"fp32": "bf16", "bf16": "fp32", "auto": "fp32", "recorded": "imagined", "imagined": "recorded"}
        return others[value]
    return value - 1 if isinstance(value, int) and value > 1 else value + 1 if isinstance(value, int) else value / 2


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


def test_loss_of_states_normalised_ahead_is_the_loss_of_raw_ones(name: str) -> None:
    model = build(name)
    normalizer, batch = model.state_normalizer, windows(model)
    if normalizer is None:
        pytest.skip("normalises within its loss")
    ahead = normalizer(batch.obs)
    raw, same, other = (
        model.loss(replace(batch, scaled=scaled), torch.Generator().manual_seed(0))[0]
        for scaled in (None, ahead, ahead + 0.1)
    )
    assert torch.equal(raw, same)
    assert not torch.allclose(raw, other)


def test_loss_is_finite_where_almost_nothing_is_recorded(name: str) -> None:
    """The last window of a truncated episode has one state and no next one."""
    model = build(name)
    last = windows(model, 1)
    alone = torch.zeros_like(last.step_mask)
    alone[:, 0] = True
    loss, _ = model.loss(replace(last, step_mask=alone, obs_mask=alone), torch.Generator().manual_seed(0))
    assert loss.isfinite()


def test_loss_uses_its_generator_only(name: str) -> None:
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


def test_same_bytes_after_saving_and_loading(name: str, tmp_path: Path) -> None:
    model = build(name)
    save_model(tmp_path, model, {})
    loaded = load_model(tmp_path)
    assert loaded.config == model.config
    assert loaded.spaces == model.spaces
    assert same(imagined(loaded), imagined(model))


def test_all_options_but_sampling_options_determine_the_weights(name: str) -> None:
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
    before = torch.get_rng_state()
    config = cls.Config.for_profile("laptop")
    first, again, other = (cls(config.model_copy(update={"seed": seed}), SPACES) for seed in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), before)
    pairs = list(zip(first.parameters(), again.parameters(), strict=True))
    assert all(torch.equal(*pair) for pair in pairs)
    assert any(not torch.equal(a, b) for a, b in zip(first.parameters(), other.parameters(), strict=True))


def test_every_sampling_option_changes_segments(name: str) -> None:
    """Except the limit of rollouts, which changes their length only."""
    model = build(name)
    for option in sorted(model.config.SAMPLING - {"rollout_limit"}):
        value = getattr(model.config, option)
        one, other = ("fp32", "bf16") if option == "sampling_precision" else (value, other_value(value))
        options = [{"first_step": "imagined", option: choice} for choice in (one, other)]
        options = [
            {name: choice for name, choice in chosen.items() if name in model.config.SAMPLING} for chosen in options
        ]
        changed = [imagined(model.with_options(chosen), first=first_steps()) for chosen in options]
        assert not same(*changed), option


def test_error_and_calibration_are_measured_as_far_as_they_exist(name: str) -> None:
    model, data = build(name), episodes()
    task_data = TaskData(data, task_for("walk", "Walk-v0", 1.0), data_stats(data, 0.99))
    holdout = WindowSet(data, 8, 0.99, 100.0).starting_at(np.arange(data.num_transitions) % 10 == 0)
    error = measure_error(model, holdout, task_data)
    steps = list(range(1, min(7, model.max_horizon) + 1))
    assert error["calibration"]["steps"] == steps
    assert error["calibration"]["num_windows"] == 12
    assert error.get("steps") == (steps if model.starts_from_data else None)

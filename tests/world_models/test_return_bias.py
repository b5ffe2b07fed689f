"""The bias of imagined returns: what it learns, where it is subtracted, and that it is stored with the model."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from toy import SPACES, fitted, generator, starts, toy_episodes

from dwm_ray.data.split import split_rows
from dwm_ray.data.task_data import TaskData
from dwm_ray.data.windows import WindowSet, complete_window_rows
from dwm_ray.experiment.profiles import run_config
from dwm_ray.tasks.table import no_termination
from dwm_ray.training.fit_world_model import correction_note, learn_return_bias
from dwm_ray.training.stores import load_model, save_model
from dwm_ray.types import Segments
from dwm_ray.world_models.dwm import DWM, DWMConfig
from dwm_ray.world_models.parts import return_bias
from dwm_ray.world_models.parts.return_bias import ReturnBias, fit_value

GAMMA, HORIZON, ROWS = 0.5, 3, 2000
LABELS = torch.linspace(0, 1, ROWS)
SMALL = {**DWMConfig.laptop(), "correct_returns": True, "sequence_length": 4, "dim": 8, "multipliers": (4, 4)}


def constant_segments(rows: int = ROWS) -> Segments:
    """Return segments that stay in their first state, whose first entry is the reward: V = 2 s[0]."""
    random = generator(3)
    obs = torch.randn(rows, 1, SPACES.obs_size, generator=random).expand(-1, HORIZON + 1, -1)
    act = torch.randn(rows, 1, SPACES.act_size, generator=random)
    rew = obs[:, :-1, 0]
    return Segments(obs, act, rew, torch.full_like(rew, GAMMA), 0 * rew, rew.new_zeros(rows))


def moved(segments: Segments) -> Segments:
    """Return segments whose last state is better by the first entry of the action, which no reward shows."""
    shift = torch.zeros_like(segments.obs)
    shift[:, -1, 0] = segments.act[:, 0, 0]
    return replace(segments, obs=segments.obs + shift)


def first_of(segments: Segments) -> Segments:
    return segments.prefix(1)


def test_the_value_of_the_behaviour_policy_is_learned() -> None:
    recorded = constant_segments()
    result = fit_value(recorded, generator())(recorded.obs[:, 0])
    torch.testing.assert_close(result, 2 * recorded.rew[:, 0], atol=0.35, rtol=0)


def test_the_bias_is_the_value_of_what_is_imagined_too_well() -> None:
    recorded = constant_segments()
    bias = ReturnBias(SPACES, HORIZON)
    assert (bias(first_of(recorded), LABELS) == 0).all()
    bias.fit(recorded, moved(recorded), LABELS, generator())
    result = bias(first_of(recorded), LABELS)
    expected = torch.stack([torch.zeros(len(recorded)), GAMMA * 2 * recorded.act[:, 0, 0]], 1)
    assert (result - expected).abs().mean() < 0.1
    assert not any(param.requires_grad for param in bias.parameters())


def test_steps_after_an_imagined_end_do_not_count() -> None:
    recorded = constant_segments()
    ended = recorded.discount.clone()
    ended[::2, 1:] = 0  # the second step ends every second imagined segment
    bias = ReturnBias(SPACES, HORIZON)
    bias.fit(recorded, replace(recorded, discount=ended), LABELS, generator())
    lost = bias(first_of(recorded), LABELS)
    value = 2 * recorded.rew[:, 0]
    torch.testing.assert_close(lost[:, 0].mean(), (-GAMMA * value / 2).mean(), atol=0.1, rtol=0)
    assert lost[:, 1].abs().mean() < 0.2


def test_without_rewards_there_is_no_bias() -> None:
    recorded = replace(constant_segments(), rew=torch.zeros(ROWS, HORIZON))
    bias = ReturnBias(SPACES, HORIZON)
    bias.fit(recorded, moved(recorded), LABELS, generator())
    assert bias(first_of(recorded), LABELS).abs().max() < 1e-4


def small_model(monkeypatch: pytest.MonkeyPatch, **options: object) -> DWM:
    monkeypatch.setattr(return_bias, "VALUE_UPDATES", 20)
    monkeypatch.setattr(return_bias, "BIAS_UPDATES", 20)
    model = fitted(DWM, {**SMALL, **options})
    learn_return_bias(model, WindowSet(toy_episodes(), 4, GAMMA, 1.0), no_termination, GAMMA)
    return model


def test_dwm_subtracts_it_after_recorded_first_steps_only(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    model, raw = small_model(monkeypatch), fitted(DWM, SMALL)  # equal, but one has not learned its bias
    obs, act = starts(5)
    first = Segments(torch.stack([obs, obs + 0.1], 1), act[:, None], *torch.ones(3, 5, 1).unbind(0), torch.zeros(5))

    def rewards(sampled: DWM, first: Segments | None) -> torch.Tensor:
        return sampled.imagine(obs, act, policy=None, horizon=3, rtg=0.5, generator=generator(), first=first).rew

    result = rewards(raw, first) - rewards(model, first)
    torch.testing.assert_close(result[:, 1:], model.return_bias(first, torch.full((5,), 0.5)), atol=1e-5, rtol=0)
    assert (result[:, 0] == 0).all()
    assert result[:, 1:].abs().min() > 0
    assert torch.equal(rewards(raw, None), rewards(model, None))
    save_model(tmp_path, model, {})
    assert torch.equal(rewards(load_model(tmp_path), first), rewards(model, first))


def test_a_model_learns_the_same_bias_again(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = small_model(monkeypatch), small_model(monkeypatch)
    assert all(torch.equal(*pair) for pair in zip(first.parameters(), second.parameters(), strict=True))


def test_the_bias_is_that_of_one_sampler() -> None:
    plain, corrected = (DWMConfig(correct_returns=on) for on in (False, True))
    other = {"temperature": 0.9}
    assert plain.training_options() == plain.model_copy(update=other).training_options()
    assert corrected.training_options() != corrected.model_copy(update=other).training_options()


def test_complete_windows_are_found_by_row() -> None:
    for episodes in (toy_episodes(length=9), toy_episodes(length=20)):
        for length in (2, 9, 10, 16):
            windows = WindowSet(episodes, length, GAMMA, 1.0)
            assert np.array_equal(np.flatnonzero(complete_window_rows(episodes, length)), windows.complete().numpy())


def test_a_complete_window_that_is_held_out_is_not_enough() -> None:
    config = run_config("laptop", "dwm", "bc").with_values({"data.env": "none"})
    episodes = toy_episodes(length=15)
    _, holdout = split_rows(episodes, config.data.holdout_ratio, 16)
    reach = TaskData.of(config, replace(episodes, known_next=episodes.known_next & holdout))
    assert complete_window_rows(reach.episodes, 16).any()
    assert "no training episode has 16 states" in str(correction_note(config, reach))


def test_data_without_a_whole_future_have_no_bias() -> None:
    config = run_config("laptop", "dwm", "bc").with_values({"data.env": "none"})
    short, long = (TaskData.of(config, toy_episodes(length=length)) for length in (9, 15))
    assert "correct_returns: no training episode has 16 states" in str(correction_note(config, short))
    assert correction_note(config, long) is None
    assert correction_note(run_config("paper", "dwm", "bc"), short) is None
    model = fitted(DWM, SMALL)
    assert not learn_return_bias(model, WindowSet(toy_episodes(length=2), 4, GAMMA, 1.0), no_termination, GAMMA)
    assert model.return_bias is not None
    assert model.return_bias.scale == 0


def test_segments_of_one_step_have_no_bias() -> None:
    model = fitted(DWM, {**SMALL, "sequence_length": 2})
    assert model.return_bias is None
    assert "correct_returns" in model.config.unused
    assert "correct_returns" not in DWMConfig(first_step="recorded", given_first=0.5).unused

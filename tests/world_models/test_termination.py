"""Terminations are learned next to a model of states, by every model that predicts states step by step."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import toy
from toy import fitted, toy_episodes

from dwm_ray.registry import find
from dwm_ray.types import Episodes, Windows
from dwm_ray.world_models.base import WorldModel

TINY = {
    "one_step": {"ensemble_size": 2, "num_elites": 1, "width": 16, "num_layers": 1},
    "transformer": {"width": 16, "num_layers": 1, "num_heads": 2, "sequence_length": 4},
    "dydiff": {
        "sequence_length": 4,
        "denoiser": "mlp",
        "dim": 16,
        "multipliers": (2, 2),
        "ensemble_size": 2,
        "num_elites": 1,
        "ensemble_width": 16,
        "ensemble_layers": 1,
        "solver_steps": 2,
        "churn": False,
        "batch_size": 64,
        "transition_batch": 64,
    },
}


def terminating_episodes() -> Episodes:
    """Return the toy with a termination at every step to a state with s_0 < -1."""
    episodes = toy_episodes(num_episodes=200, length=5)
    low = episodes.next_obs[:, 0] < -1
    return replace(episodes, terminated=low, truncated=episodes.truncated & ~low)


def build(name: str, continuation: str = "on", episodes: Episodes | None = None) -> WorldModel:
    options = {**TINY[name], "continuation": continuation}
    model: WorldModel = fitted(find("world_models", name), options, episodes or terminating_episodes())
    return model


def batch(model: WorldModel, seed: int, rows: int = 256) -> Windows:
    return toy.windows(rows, model.sequence_length, seed, terminating_episodes())


@pytest.mark.parametrize("name", TINY)
def test_generated_segments_terminate_where_the_data_do(name: str) -> None:
    model = build(name)
    adam = torch.optim.Adam(model.parameters(), 5e-3)
    for update in range(150):
        adam.zero_grad()
        model.loss(batch(model, update), torch.Generator().manual_seed(update))[0].backward()
        adam.step()
    segments = imagined(model, torch.randn(400, 3, generator=torch.Generator().manual_seed(1)))
    ended = (segments.obs[:, 1:, 0] < -1).cumsum(1) > 0
    assert 0.05 < ended.float().mean() < 0.6
    assert ((segments.discount == 0) == ended).float().mean() > 0.95
    assert (segments.discount.diff(dim=1) <= 0).all()


def imagined(model: WorldModel, obs: torch.Tensor):
    act = torch.zeros(len(obs), 1)
    return model.imagine(
        obs, act, policy=lambda states, step: states[:, :1] * 0, horizon=3, rtg=0.0, generator=torch.Generator()
    )


@pytest.mark.parametrize("name", TINY)
@pytest.mark.parametrize("continuation", ["off", "auto"])
def test_without_continuation_nothing_terminates_and_there_are_no_weights(name: str, continuation: str) -> None:
    model = build(name, continuation)
    assert imagined(model, torch.randn(8, 3) * 10).discount.eq(1).all()
    assert not any(key.startswith("termination") for key in model.state_dict())
    _, metrics = model.loss(batch(model, 0), torch.Generator())
    assert "termination_loss" not in metrics


@pytest.mark.parametrize("name", TINY)
def test_other_weights_and_gradients_do_not_change(name: str) -> None:
    with_head, without = build(name), build(name, "off")
    for model in (with_head, without):
        model.loss(batch(model, 0), torch.Generator().manual_seed(0))[0].backward()
    others = dict(with_head.named_parameters())
    for key, weight in without.named_parameters():
        assert torch.equal(weight, others[key])
        assert weight.grad is None or torch.allclose(weight.grad, others[key].grad, atol=1e-7)


def test_data_without_terminal_states_are_refused() -> None:
    episodes = terminating_episodes()
    unknown = replace(episodes, known_next=~episodes.terminated & episodes.known_next)
    with pytest.raises(ValueError, match=r"world_model\.continuation: the data contain no state"):
        build("one_step", episodes=unknown)
    build("one_step", "off", unknown)


def test_unrecorded_steps_carry_no_loss() -> None:
    model = build("one_step")
    windows = batch(model, 0)
    unknown = replace(windows, obs_mask=torch.zeros_like(windows.obs_mask))
    assert model.termination.loss(unknown) == 0
    assert model.termination.loss(windows) > 0
    assert np.isfinite(model.termination.loss(windows).item())

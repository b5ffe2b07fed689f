"""Rollouts of DyDiff: refinement, policies, horizons, the mix of states."""

import pytest
import torch
from tiny_dydiff import build, clean_of, imagined, linear, recording, windows
from toy import generator, toy_episodes, train

from dwm_ray.data.windows import WindowSet


@pytest.mark.parametrize(("faithful", "noisy_calls"), [(False, 0), (True, 20)])
def test_given_entries_are_clean_except_in_the_public_codes_way(faithful: bool, noisy_calls: int) -> None:
    model, seen = recording(faithful=faithful, churn=True, solver_steps=34, start_sigma=80.0, num_refinements=1)
    start = windows()
    imagined(model)
    first = clean_of(model, start.obs[:, 0], start.act[:, 0])
    assert len(seen) == 67
    ratios = [(x[:, 0] / first).flatten() for x in seen]
    shrunk_alike = [bool((ratio - ratio[0]).abs().max() < 1e-3) for ratio in ratios]
    assert shrunk_alike.count(False) == noisy_calls
    if not faithful:
        assert all(torch.allclose(x[:, 0], first, atol=1e-6) for x in seen)


@pytest.mark.parametrize(("horizon", "length"), [(7, 8), (5, 6), (4, 6), (1, 2)])
def test_a_short_horizon_costs_a_short_network(horizon: int, length: int) -> None:
    model, seen = recording(solver_steps=7, num_refinements=3)
    segments = imagined(model, horizon)
    assert segments.obs.shape == (16, horizon + 1, 3)
    assert segments.act.shape == (16, horizon, 1)
    assert [x.shape[1] for x in seen] == [length] * 3 * 7


def test_without_refinements_it_is_the_one_step_rollout() -> None:
    model = build(num_refinements=0)
    segments, start = imagined(model), windows(16)
    plain = model.one_step.imagine(
        start.obs[:, 0], start.act[:, 0], policy=linear, horizon=7, rtg=0.0, generator=generator()
    )
    torch.testing.assert_close(segments.obs, plain.obs)
    torch.testing.assert_close(segments.act, plain.act)
    torch.testing.assert_close(segments.penalty, plain.penalty, rtol=1e-3, atol=1e-5)
    rew = model.reward(segments.obs[:, 3], segments.act[:, 3])
    torch.testing.assert_close(segments.rew[:, 3], rew.detach())


def test_actions_are_those_that_the_states_were_conditioned_on() -> None:
    """The network returns zeros, so states change, and its last inputs show which actions they were conditioned on."""
    for faithful in (False, True):
        model, seen = recording(num_refinements=2, faithful=faithful)
        segments = imagined(model)
        newest = torch.stack([linear(segments.obs[:, i], i) for i in range(1, 7)], 1)
        assert torch.allclose(segments.act[:, 1:], newest) is faithful
        assert torch.equal(segments.act[:, :1], windows(16).act[:, :1])
        if not faithful:
            shown = model.trajectory.act_normalizer.inverse(seen[-1][:, :7, 3:])
            torch.testing.assert_close(segments.act, shown, atol=1e-5, rtol=1e-5)


def test_states_are_mixed_with_the_current_ones() -> None:
    options = {"num_refinements": 1, "sequence_length": 8}
    first, mixed, sampled = (imagined(build(**options, state_mix=mix)).obs for mix in (0.0, 0.25, 1.0))
    torch.testing.assert_close(mixed, 0.75 * first + 0.25 * sampled)
    assert not torch.allclose(first, sampled)


def test_a_low_first_level_starts_from_the_current_states() -> None:
    rollout = imagined(build(num_refinements=0)).obs
    low, high = (
        imagined(build(num_refinements=1, state_mix=1.0, start_sigma=sigma)).obs - rollout for sigma in (0.01, 80.0)
    )
    assert 0 < low.abs().mean() < 0.1 * high.abs().mean()


def test_a_trained_diffusion_follows_actions_and_dynamics() -> None:
    """s' = .9 s + .3 a under a policy that the data have not. Level 1 hides most of the one-step rollout; level 80 is
    one that 250 updates have hardly shown to the network."""
    model = build(denoiser="mlp", dim=32, multipliers=(4,), sequence_length=4, num_refinements=1, state_mix=1.0)
    model = model.with_options({"start_sigma": 1.0, "solver_steps": 6})
    data = WindowSet(toy_episodes(), 4, 0.99, 10.0)
    train(model, lambda rng: data.sample(64, rng), 250, 3e-3)
    segments = imagined(model, 3, policy=lambda obs, step: torch.full((len(obs), 1), -0.5 * step), rows=64)
    truth = [segments.obs[:, 0]]
    for step in range(3):
        truth.append(0.9 * truth[-1] + 0.3 * segments.act[:, step])
    expected = torch.stack(truth, 1)
    error, unmoved = ((obs - expected).square().mean().sqrt() for obs in (segments.obs, segments.obs[:, :1]))
    assert float(error) < 0.4 * float(unmoved)
    rew = segments.obs[:, :-1, 0] + segments.act[..., 0]
    assert float((segments.rew - rew).abs().mean()) < 0.1


def test_an_mlp_takes_whole_windows_at_every_horizon() -> None:
    model, seen = recording(denoiser="mlp", solver_steps=2, num_refinements=1)
    assert imagined(model, 3).obs.shape == (16, 4, 3)
    assert [x.shape[1] for x in seen] == [8, 8]

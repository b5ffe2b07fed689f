from dataclasses import replace

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn
from toy import SPACES, generator, toy_episodes

from dwm_ray.data.windows import WindowSet
from dwm_ray.types import Policy, Segments, Windows
from dwm_ray.world_models.dydiff import DyDiff, DyDiffConfig
from dwm_ray.world_models.reward import RewardNetwork

TINY = {
    **DyDiffConfig.small(),
    "sequence_length": 8,
    "denoiser": "unet",
    "dim": 8,
    "multipliers": (2, 4),
    "ensemble_width": 16,
    "ensemble_layers": 1,
    "reward_width": 16,
    "training_precision": "fp32",
    "sampling_precision": "fp32",
}


def build(**options: object) -> DyDiff:
    model = DyDiff(DyDiffConfig.model_validate({**TINY, **options}), SPACES)
    model.fit_normalizers(toy_episodes())
    return model


def windows(rows: int = 16, seed: int = 0, length: int = 8) -> Windows:
    return WindowSet(toy_episodes(), length, 0.99, 10.0).sample(rows, generator(seed))


def linear(obs: Tensor, step: int) -> Tensor:
    return 0.3 * obs.sum(1, keepdim=True) + 0.1


def imagined(model: DyDiff, horizon: int = 7, policy: Policy = linear, rows: int = 16) -> Segments:
    start = windows(rows)
    return model.imagine(
        start.obs[:, 0], start.act[:, 0], policy=policy, horizon=horizon, rtg=0.0, generator=generator()
    )


class Recorder(nn.Module):
    """In the U-Net's place: keeps what it is shown, answers zeros."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Tensor] = []

    def forward(self, x: Tensor, level: Tensor, condition: None) -> Tensor:
        self.seen.append(x)
        return torch.zeros_like(x)


def recording(**options: object) -> tuple[DyDiff, list[Tensor]]:
    model, recorder = build(**options), Recorder()
    model.trajectory.denoiser = recorder
    return model, recorder.seen


def clean_of(model: DyDiff, obs: Tensor, act: Tensor) -> Tensor:
    return torch.cat([model.trajectory.obs_normalizer(obs), model.trajectory.act_normalizer(act)], -1)


@pytest.mark.parametrize("faithful", [False, True])
def test_trajectory_loss_golden(faithful: bool) -> None:
    """With a network that answers zeros D is c_skip x: the loss by loops over the entries that count."""
    model, seen = recording(faithful=faithful)
    batch = windows(4)
    mask = torch.ones(4, 8).bool()
    mask[0, 5:] = False
    batch = replace(batch, obs_mask=mask)
    loss = model.trajectory.loss(batch, generator(), "fp32")
    draw = generator()
    sigma = np.exp(-1.2 + 1.2 * torch.randn(4, generator=draw).double().numpy())
    noise = torch.randn(4, 8, 4, generator=draw).double().numpy()
    clean = clean_of(model, batch.obs, batch.act).double().numpy()
    errors = []
    for row in range(4):
        variance = sigma[row] ** 2 + 0.25
        for i in range(8):
            for d in range(4):
                given = i == 0 or d == 3
                x = clean[row, i, d] + (0 if given else sigma[row] * noise[row, i, d])
                shown = float(seen[0][row, i, d])
                assert shown == pytest.approx(x if given and not faithful else x / variance**0.5, abs=1e-5)
                if faithful or (not given and bool(mask[row, i])):
                    error = 0.25 / variance * x - clean[row, i, d]
                    errors.append(variance / (0.5 * sigma[row]) ** 2 * error**2)
    assert float(loss) == pytest.approx(np.mean(errors), rel=1e-4)


def test_the_three_parts_are_summed_and_share_no_weight() -> None:
    """Half of an update's windows came in: each part gets half of its own number, the first ones."""
    model = build(batch_size=4, transition_batch=16)
    assert model.windows_per_update == 16
    batch = windows(8)
    loss, metrics = model.loss(batch, generator())
    loss.backward()
    whole, pairs = (Windows(*(part[:rows] for part in vars(batch).values())) for rows in (2, 8))
    diffusion = model.trajectory.loss(whole, generator(), "fp32")
    one_step, _ = model.one_step.loss(pairs, generator())
    torch.testing.assert_close(loss, diffusion + one_step + model.reward.loss(pairs))
    torch.testing.assert_close(metrics["diffusion_loss"], diffusion.detach())
    unused = [name for name, param in model.named_parameters() if param.grad is None or not param.grad.any()]
    assert unused == []


def test_held_out_windows_are_all_looked_at() -> None:
    model = build(batch_size=4, transition_batch=16).eval()
    _, metrics = model.loss(windows(40), generator())
    torch.testing.assert_close(metrics["diffusion_loss"], model.trajectory.loss(windows(40), generator(), "fp32"))


def test_reward_loss_golden_and_raw_outside() -> None:
    network = RewardNetwork(SPACES, 8)
    network.fit_normalizers(toy_episodes())
    for param in network.parameters():
        nn.init.zeros_(param)
    batch = windows(6)
    mask = torch.tensor([True, False, True, False, False, False])
    loss = network.loss(replace(batch, step_mask=mask[:, None].expand(-1, 8)))
    rew = toy_episodes().rew
    expected = np.mean([((float(batch.rew[i, 0]) - rew.mean()) / (rew.std() + 1e-3)) ** 2 for i in (0, 2)])
    assert float(loss.detach()) == pytest.approx(expected, rel=1e-4)
    out = network(batch.obs[:, 0], batch.act[:, 0])
    torch.testing.assert_close(out, torch.full((6,), float(rew.mean())), atol=1e-5, rtol=1e-5)


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


def test_policies_are_asked_for_steps_up_to_the_horizon() -> None:
    """Recorded actions have no more: a window of H + 1 states."""
    recorded = windows(16, length=6).act
    asked: list[int] = []

    def logged(obs: Tensor, step: int) -> Tensor:
        asked.append(step)
        assert len(obs) == 16
        return recorded[:, step]

    segments = imagined(build(multipliers=(1, 2, 4)), horizon=5, policy=logged)
    assert set(asked) == set(range(1, 6))
    assert torch.equal(segments.act[:, 1:], recorded[:, 1:5])


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


def test_kept_actions_are_those_the_states_were_drawn_under() -> None:
    """Zeros in place of the network: states change, so the actions that were shown last tell which were kept."""
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
    first, mixed, drawn = (imagined(build(**options, state_mix=mix)).obs for mix in (0.0, 0.25, 1.0))
    torch.testing.assert_close(mixed, 0.75 * first + 0.25 * drawn)
    assert not torch.allclose(first, drawn)


def test_a_low_first_level_begins_from_the_current_states() -> None:
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
    data, draw = WindowSet(toy_episodes(), 4, 0.99, 10.0), generator()
    adam = torch.optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(250):
        adam.zero_grad()
        model.loss(data.sample(64, draw), draw)[0].backward()
        adam.step()
    segments = imagined(model, 3, policy=lambda obs, step: torch.full((len(obs), 1), -0.5 * step), rows=64)
    truth = [segments.obs[:, 0]]
    for step in range(3):
        truth.append(0.9 * truth[-1] + 0.3 * segments.act[:, step])
    expected = torch.stack(truth, 1)
    error, unmoved = ((obs - expected).square().mean().sqrt() for obs in (segments.obs, segments.obs[:, :1]))
    assert float(error) < 0.4 * float(unmoved)
    rew = segments.obs[:, :-1, 0] + segments.act[..., 0]
    assert float((segments.rew - rew).abs().mean()) < 0.1


def test_an_mlp_sees_whole_windows_at_every_horizon() -> None:
    model, seen = recording(denoiser="mlp", solver_steps=2, num_refinements=1)
    assert imagined(model, 3).obs.shape == (16, 4, 3)
    assert [x.shape[1] for x in seen] == [8, 8]


def test_the_best_one_step_networks_are_used_and_training_goes_on() -> None:
    model = build()
    holdout = windows(128)
    assert model.observe(holdout) is False
    good = [param.clone() for param in model.one_step.net.parameters()]
    with torch.no_grad():
        for param in model.one_step.net.parameters():
            param.add_(1.0)
    assert not any(model.observe(holdout) for _ in range(50))
    model.finish(holdout)
    assert all(torch.equal(*pair) for pair in zip(good, model.one_step.net.parameters(), strict=True))


def test_what_cannot_work_is_refused() -> None:
    with pytest.raises(ValidationError, match="sequence_length 10 does not suit a U-Net"):
        DyDiffConfig(sequence_length=10)
    with pytest.raises(ValidationError, match="num_elites 8 must not exceed ensemble_size 7"):
        DyDiffConfig(num_elites=8)
    start = windows(2)
    with pytest.raises(ValueError, match="needs a policy"):
        build().imagine(start.obs[:, 0], start.act[:, 0], policy=None, horizon=3, rtg=0.0, generator=generator())


def test_a_run_gets_long_segments() -> None:
    for preset in ("paper", "small"):
        options = DyDiffConfig.run_options(preset)
        assert options["synthesis.horizon"] == DyDiffConfig.preset(preset).sequence_length - 1
        assert options["replay.real_ratio"] == 0.6

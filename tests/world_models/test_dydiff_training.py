"""Training of DyDiff: losses of its three parts, best weights, refused options."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from tiny_dydiff import build, clean_of, recording, windows
from torch import nn
from toy import SPACES, generator, toy_episodes

from dwm_ray.world_models.dydiff import DyDiffConfig
from dwm_ray.world_models.parts.heads import RewardNetwork


@pytest.mark.parametrize("faithful", [False, True])
def test_trajectory_loss_golden(faithful: bool) -> None:
    """With a network that answers zeros D is c_skip x: the loss by loops over the entries that count."""
    model, seen = recording(faithful=faithful)
    batch = windows(4)
    mask = torch.ones(4, 8).bool()
    mask[0, 5:] = False
    batch = replace(batch, obs_mask=mask)
    loss = model.trajectory.loss(batch, model.process, generator(), "fp32")
    rng = generator()
    sigma = np.exp(-1.2 + 1.2 * torch.randn(4, generator=rng).double().numpy())
    noise = torch.randn(4, 8, 4, generator=rng).double().numpy()
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
    whole, pairs = (batch[:rows] for rows in (2, 8))
    diffusion = model.trajectory.loss(whole, model.process, generator(), "fp32")
    one_step, _ = model.one_step.loss(pairs, generator())
    torch.testing.assert_close(loss, diffusion + one_step + model.reward.loss(pairs))
    torch.testing.assert_close(metrics["diffusion_loss"], diffusion.detach())
    unused = [name for name, param in model.named_parameters() if param.grad is None or not param.grad.any()]
    assert unused == []


def test_held_out_windows_are_all_looked_at() -> None:
    model = build(batch_size=4, transition_batch=16).eval()
    _, metrics = model.loss(windows(40), generator())
    expected = model.trajectory.loss(windows(40), model.process, generator(), "fp32")
    torch.testing.assert_close(metrics["diffusion_loss"], expected)


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


def test_impossible_options_are_named() -> None:
    with pytest.raises(ValidationError, match=r"sequence_length: 10 does not fit .* expected a multiple of 4"):
        DyDiffConfig(sequence_length=10)
    with pytest.raises(ValidationError, match="num_elites: got 8; expected at most ensemble_size 7"):
        DyDiffConfig(num_elites=8)


def test_a_run_gets_long_segments() -> None:
    for profile in ("paper", "laptop"):
        options = DyDiffConfig.run_options(profile)
        assert options["synthesis.horizon"] == DyDiffConfig.for_profile(profile).sequence_length - 1
        assert options["replay.real_ratio"] == 0.6

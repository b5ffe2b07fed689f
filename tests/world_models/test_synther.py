from dataclasses import replace

import numpy as np
import pytest
import torch
import toy
from torch import Tensor, nn
from toy import fitted, generator, next_obs, toy_episodes, train

from dwm_ray.data.windows import WindowSet
from dwm_ray.diffusion.edm import Preconditioning
from dwm_ray.types import Episodes, Segments, Windows
from dwm_ray.world_models.synther import SynthER, SynthERConfig

TINY = {"dim": 32, "multipliers": (4, 4), "solver_steps": 16, "churn": False}
ENDS_ABOVE = 0.8


def episodes() -> Episodes:
    """The toy, ending where the next state's first entry is above a bound."""
    data = toy_episodes()
    ended = data.next_obs[:, 0] > ENDS_ABOVE
    return replace(data, terminated=ended, truncated=data.truncated & ~ended)


def build(**options: object) -> SynthER:
    return fitted(SynthER, {**TINY, **options}, episodes())


def windows(rows: int = 64, seed: int = 0) -> Windows:
    return toy.windows(rows, 2, seed, episodes())


def generated(model: SynthER, rows: int = 64, seed: int = 0) -> Segments:
    nothing = torch.zeros(rows, 3), torch.zeros(rows, 1)
    return model.imagine(*nothing, policy=None, horizon=1, rtg=0.0, generator=generator(seed))


@pytest.fixture(scope="module")
def trained() -> SynthER:
    model, data = build(), WindowSet(episodes(), 2, 0.99, 10.0)
    train(model, lambda rng: data.sample(256, rng), 700, 2e-3, 0.05)
    return model


def test_generated_transitions_obey_the_dynamics(trained: SynthER) -> None:
    rows = generated(trained, 1000)
    obs, act = rows.obs[:, 0].numpy(), rows.act[:, 0].numpy()
    error = np.square(rows.obs[:, 1].numpy() - next_obs(obs, act)).mean()
    assert error < 0.1 * np.square(obs - next_obs(obs, act)).mean()
    reward_error = np.square(rows.rew[:, 0].numpy() - obs[:, 0] - act[:, 0]).mean()
    assert reward_error < 0.1 * rows.rew.var()


def test_generated_transitions_are_spread_like_the_data(trained: SynthER) -> None:
    rows, data = generated(trained, 1000), episodes()
    for created, real in ((rows.obs[:, 0], data.obs), (rows.act[:, 0], data.act), (rows.rew[:, 0], data.rew)):
        assert created.mean(0).numpy() == pytest.approx(real.mean(0), abs=0.15)
        assert created.std(0).numpy() == pytest.approx(real.std(0), rel=0.2)


def test_the_end_of_the_task_is_learned(trained: SynthER) -> None:
    rows = generated(trained, 2000)
    ended, beyond = rows.discount[:, 0] == 0, rows.obs[:, 1, 0] > ENDS_ABOVE
    assert set(rows.discount.unique().tolist()) == {0.0, 1.0}
    assert float(ended.float().mean()) == pytest.approx(float(episodes().terminated.mean()), abs=0.05)
    assert (ended == beyond).float().mean() > 0.93


def test_start_pairs_determine_the_number_of_rows_only() -> None:
    model, batch = build(), windows(64)
    given = model.imagine(batch.obs[:, 0], batch.act[:, 0], policy=None, horizon=1, rtg=0.9, generator=generator())
    blank = generated(model, 64)
    assert all(torch.equal(value, getattr(blank, key)) for key, value in given.tensors().items())
    assert (given.obs.shape, given.act.shape, given.rew.shape) == ((64, 2, 3), (64, 1, 1), (64, 1))


def test_loss_golden_and_masked() -> None:
    """Against plain loops; rows without a recorded next state carry no loss."""
    model, batch = build(), windows(6)
    nn.init.zeros_(model.denoiser.leave.weight)
    nn.init.zeros_(model.denoiser.leave.bias)  # the network says 0: the clean row is taken to be c_skip x
    obs_mask = torch.ones(6, 2).bool()
    obs_mask[4:, 1] = False
    loss, _ = model.loss(replace(batch, obs_mask=obs_mask), generator())
    rng = generator()
    sigma = np.exp(-1.2 + 1.2 * torch.randn(6, generator=rng).numpy())
    noise = torch.randn(6, 1, 9, generator=rng).numpy()[:, 0]
    expected = []
    for i in range(4):
        change = batch.obs[i, 1] - batch.obs[i, 0]
        row = torch.cat([batch.obs[i, 0], batch.act[i, 0], batch.rew[i, :1], change])
        clean = np.append(model.normalizer(row).numpy(), float(batch.terminated[i, 0]))
        estimate = (clean + sigma[i] * noise[i]) / (sigma[i] ** 2 + 1)
        weight = (sigma[i] ** 2 + 1) / sigma[i] ** 2
        expected.append(weight * np.square(estimate - clean).mean())
    assert loss.item() == pytest.approx(np.mean(expected), rel=1e-4)


def test_a_perfect_network_gives_back_the_row() -> None:
    model = build()
    truth = torch.tensor([0.5, -0.5, 0.1, 9.0, -0.2, 0.6, 0.0, -0.9, 0.7])

    class Oracle(nn.Module):
        """Inverse of the preconditioning: the denoiser's estimate is always `truth`."""

        def forward(self, x: Tensor, level: Tensor, condition: None) -> Tensor:
            sigma = (4 * level).exp()
            skip, out, shrink, _ = (part[:, None, None] for part in Preconditioning(1.0).scalings(sigma))
            return (truth - skip * x / shrink) / out

    model.denoiser = Oracle()
    rows = generated(model, 4)
    raw = model.normalizer.inverse(truth[:-1])
    torch.testing.assert_close(rows.obs[0, 0], raw[:3], atol=1e-4, rtol=0)
    torch.testing.assert_close(rows.act[0, 0], torch.ones(1))  # 9 deviations are beyond the task's bound
    torch.testing.assert_close(rows.rew[0], raw[4:5], atol=1e-4, rtol=0)
    torch.testing.assert_close(rows.obs[0, 1], raw[:3] + raw[5:], atol=1e-4, rtol=0)
    assert (rows.discount == 0).all()


def test_a_run_has_single_transitions_next_to_real_ones() -> None:
    assert SynthERConfig.run_options("laptop") == {"synthesis.horizon": 1, "replay.real_ratio": 0.5}

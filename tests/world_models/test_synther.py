from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from toy import SPACES, generator, next_obs, toy_episodes

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
    model = SynthER(SynthERConfig.model_validate({**TINY, **options}), SPACES)
    model.fit_normalizers(episodes())
    return model


def windows(rows: int = 64, seed: int = 0) -> Windows:
    return WindowSet(episodes(), 2, 0.99, 10.0).sample(rows, torch.Generator().manual_seed(seed))


def drawn(model: SynthER, rows: int = 64, seed: int = 0) -> Segments:
    nothing = torch.zeros(rows, 3), torch.zeros(rows, 1)
    return model.imagine(*nothing, policy=None, horizon=1, rtg=0.0, generator=generator(seed))


@pytest.fixture(scope="module")
def trained() -> SynthER:
    num_updates, draw = 700, generator()
    model = build()
    adam = torch.optim.Adam(model.parameters(), lr=2e-3)
    decay = torch.optim.lr_scheduler.LinearLR(adam, 1.0, 0.05, num_updates)
    data = WindowSet(episodes(), 2, 0.99, 10.0)
    for _ in range(num_updates):
        adam.zero_grad()
        model.loss(data.sample(256, draw), draw)[0].backward()
        adam.step()
        decay.step()
    return model


def test_generated_transitions_obey_the_dynamics(trained: SynthER) -> None:
    rows = drawn(trained, 1000)
    obs, act = rows.obs[:, 0].numpy(), rows.act[:, 0].numpy()
    error = np.square(rows.obs[:, 1].numpy() - next_obs(obs, act)).mean()
    assert error < 0.1 * np.square(obs - next_obs(obs, act)).mean()
    reward_error = np.square(rows.rew[:, 0].numpy() - obs[:, 0] - act[:, 0]).mean()
    assert reward_error < 0.1 * rows.rew.var()


def test_generated_transitions_are_spread_like_the_data(trained: SynthER) -> None:
    rows, data = drawn(trained, 1000), episodes()
    for made, real in ((rows.obs[:, 0], data.obs), (rows.act[:, 0], data.act), (rows.rew[:, 0], data.rew)):
        assert made.mean(0).numpy() == pytest.approx(real.mean(0), abs=0.15)
        assert made.std(0).numpy() == pytest.approx(real.std(0), rel=0.2)


def test_the_end_of_the_task_is_learned(trained: SynthER) -> None:
    rows = drawn(trained, 2000)
    ended, beyond = rows.discount[:, 0] == 0, rows.obs[:, 1, 0] > ENDS_ABOVE
    assert set(rows.discount.unique().tolist()) == {0.0, 1.0}
    assert float(ended.float().mean()) == pytest.approx(float(episodes().terminated.mean()), abs=0.05)
    assert (ended == beyond).float().mean() > 0.93


def test_start_pairs_only_say_how_many() -> None:
    model, batch = build(), windows(64)
    given = model.imagine(batch.obs[:, 0], batch.act[:, 0], policy=None, horizon=1, rtg=0.9, generator=generator())
    blank = drawn(model, 64)
    assert all(torch.equal(value, getattr(blank, key)) for key, value in vars(given).items())
    assert (given.obs.shape, given.act.shape, given.rew.shape) == ((64, 2, 3), (64, 1, 1), (64, 1))


def test_the_generator_is_the_only_randomness() -> None:
    model = build()
    torch.manual_seed(1)
    first = drawn(model)
    torch.manual_seed(2)
    assert torch.equal(first.obs, drawn(model).obs)
    assert not torch.equal(first.obs, drawn(model, seed=1).obs)


def test_loss_golden_and_masked() -> None:
    """Against plain loops; rows without a recorded next state carry no loss."""
    model, batch = build(), windows(6)
    nn.init.zeros_(model.denoiser.leave[-1].weight)
    nn.init.zeros_(model.denoiser.leave[-1].bias)  # the network says 0: the clean row is taken to be c_skip x
    obs_mask = torch.ones(6, 2).bool()
    obs_mask[4:, 1] = False
    loss, _ = model.loss(replace(batch, obs_mask=obs_mask), generator())
    draw = generator()
    sigma = np.exp(-1.2 + 1.2 * torch.randn(6, generator=draw).numpy())
    noise = torch.randn(6, 1, 9, generator=draw).numpy()[:, 0]
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
    rows = drawn(model, 4)
    raw = model.normalizer.inverse(truth[:-1])
    torch.testing.assert_close(rows.obs[0, 0], raw[:3], atol=1e-4, rtol=0)
    torch.testing.assert_close(rows.act[0, 0], torch.ones(1))  # 9 deviations are beyond the task's bound
    torch.testing.assert_close(rows.rew[0], raw[4:5], atol=1e-4, rtol=0)
    torch.testing.assert_close(rows.obs[0, 1], raw[:3] + raw[5:], atol=1e-4, rtol=0)
    assert (rows.discount == 0).all()


@pytest.mark.parametrize("options", [{"solver_steps": 6}, {"churn": True}, {"sampling_precision": "bf16"}])
def test_sampling_options_change_what_is_drawn(options: dict[str, object]) -> None:
    model = build()
    assert not torch.equal(drawn(model.with_options(options)).obs, drawn(model).obs)


def test_it_makes_single_transitions_beside_real_ones() -> None:
    with pytest.raises(ValueError, match="horizon 2"):
        build().imagine(torch.zeros(2, 3), torch.zeros(2, 1), policy=None, horizon=2, rtg=0.0, generator=generator())
    assert SynthERConfig.run_options("small") == {"synthesis.horizon": 1, "replay.real_ratio": 0.5}


def test_weights_are_shared_across_sampling_options_only() -> None:
    base = SynthERConfig()
    assert (
        SynthERConfig(solver_steps=8, churn=False, sampling_precision="bf16").training_options()
        == base.training_options()
    )
    assert SynthERConfig(dim=64).training_options() != base.training_options()

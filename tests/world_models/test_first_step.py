"""The regression of DWM's first step, and the diffusion that continues from a given one."""

from dataclasses import replace

import pytest
import torch
from toy import SPACES, fitted, generator, next_obs, starts, toy_episodes, train, windows

from dwm_ray.types import Segments
from dwm_ray.world_models.base import generated
from dwm_ray.world_models.dwm import DWM, DWMConfig
from dwm_ray.world_models.parts.first_step import FirstStep
from dwm_ray.world_models.parts.losses import log_mean

SMALL = {**DWMConfig.laptop(), "sequence_length": 4, "dim": 8, "multipliers": (4, 4), "first_step": "recorded"}


def build(**options: object) -> DWM:
    return fitted(DWM, {**SMALL, **options})


def first_steps(rows: int, shift: float = 0.0) -> Segments:
    batch = windows(rows)
    ones = torch.ones(rows, 1)
    return generated(batch.obs[:, :2] + shift * torch.tensor([0.0, 1.0])[:, None], batch.act[:, :1], ones * 2, ones)


def test_log_mean_golden() -> None:
    """Entries 1 and 2 have mean errors 2 and 8; the third is nowhere recorded."""
    error = torch.tensor([[1.0, 8.0, 5.0], [3.0, 100.0, 5.0]], requires_grad=True)
    mask = torch.tensor([[True, True, False], [True, False, False]])
    loss = log_mean(error, mask)
    assert loss.item() == pytest.approx((torch.tensor([2.0, 8.0]) + 1e-5).log().mean().item())
    loss.backward()
    torch.testing.assert_close(error.grad, torch.tensor([[0.125, 0.0625, 0], [0.125, 0, 0]]), rtol=1e-4, atol=0)


def test_the_regression_learns_the_dynamics_and_its_noise_is_that_of_its_errors() -> None:
    torch.manual_seed(0)
    model = FirstStep(SPACES, 32)
    model.fit(toy_episodes())
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    for update in range(300):
        optimizer.zero_grad()
        model.loss(windows(64, seed=update)).backward()
        optimizer.step()
    model.calibrate(windows(512, seed=1000))
    obs, act = starts(400)
    exact, noisy = (model.imagine(obs, act, temperature, generator()) for temperature in (0.0, 1.0))
    expected = torch.from_numpy(next_obs(obs.numpy(), act.numpy()))
    torch.testing.assert_close(exact.obs[:, 1], expected, atol=0.1, rtol=0)
    torch.testing.assert_close(exact.rew[:, 0], obs[:, 0] + act[:, 0], atol=0.15, rtol=0)
    spread = (noisy.obs[:, 1] - exact.obs[:, 1]).std(0)
    scale = model.target_normalizer.scale[:3]
    torch.testing.assert_close(spread, model.std[:3] * scale, rtol=0.2, atol=0)
    assert (model.std > 0).all()


def test_padding_teaches_the_regression_nothing() -> None:
    model = FirstStep(SPACES, 8)
    model.fit(toy_episodes())
    batch = windows()
    cut = batch.step_mask.clone()
    cut[:, 1] = False
    other = replace(batch, step_mask=cut, obs=batch.obs.clone())
    other.obs[:, 2] = 1e3  # beyond the step that is not recorded
    assert model.loss(other) == model.loss(replace(batch, step_mask=cut))


@pytest.mark.parametrize("options", [{}, {"denoiser": "unet", "multipliers": (1, 2)}, {"process": "flow"}])
def test_segments_continue_from_the_step_that_is_given(options: dict[str, object]) -> None:
    model = build(**options)
    obs, act = starts(8)
    here, there, imagined = (
        model.imagine(obs, act, policy=None, horizon=3, rtg=0.5, generator=generator(), first=first)
        for first in (first_steps(8), first_steps(8, shift=0.5), None)
    )
    assert torch.equal(there.obs[:, 1], first_steps(8, shift=0.5).obs[:, 1])
    assert torch.equal(here.rew[:, 0], torch.full((8,), 2.0))
    assert not torch.allclose(here.obs[:, 2], there.obs[:, 2])
    assert not torch.equal(imagined.obs[:, 1], here.obs[:, 1])  # the regression's
    assert imagined.obs.isfinite().all()


def test_given_entries_are_clean_for_the_network_and_carry_no_loss() -> None:
    model, batch = build(first_model="diffusion", given_first=0.5), windows(256)
    clean = model.layout.join(*model.units.encode(batch.obs, batch.rew), batch.terminated)
    has_first = model._has_first(batch, generator())
    assert 0.3 < has_first.float().mean() < 0.7
    given = model.layout.continued(clean, has_first)
    assert torch.equal(given.mask[:, 1, 0], has_first)
    assert torch.equal(given.mask[:, 0, -1], has_first)
    assert given.mask[:, 0, :-1].all()
    assert not given.mask[:, 2:].any()
    entries = model.layout.first_entries(given)
    assert torch.equal(entries[:, -3:], torch.where(has_first[:, None], clean[:, 1, :3], 0.0))


def test_laptop_options_learn_the_toy() -> None:
    """The second action is random: a sample's least error is twice the variance that it causes."""
    model = build(dim=16)
    train(model, lambda rng: windows(128, seed=int(torch.randint(1 << 30, (1,), generator=rng))), 250, 3e-3, 0.05)
    batch = windows(500, seed=77)
    segments = model.imagine(
        batch.obs[:, 0], batch.act[:, 0], policy=None, horizon=2, rtg=batch.rtg, generator=generator()
    )
    error = (segments.obs[:, 2] - batch.obs[:, 2]).square().mean()
    assert error < 1.1 * 2 * 0.3**2 / 3
    assert (segments.obs[:, 1] - batch.obs[:, 1]).square().mean() < 0.02


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"first_model": "diffusion", "given_first": 1.0}, "given_first: 1 does not fit first_model diffusion"),
        ({"given_first": 0.0}, "given_first: 0 does not fit first_model regression"),
    ],
)
def test_a_first_step_that_nothing_learns_is_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DWMConfig.model_validate({**SMALL, **options})


@pytest.mark.parametrize(("states", "largest"), [("absolute", 1.0), ("change", 3.0)])
def test_ddpm_clamps_only_units_that_are_bounded(states: str, largest: float) -> None:
    """Standardised changes of three deviations are ordinary."""
    model = build(states=states, process="ddpm", prediction="sample", first_model="diffusion", given_first=0.0)
    solver = model.process.solver
    sampled = solver.sample(lambda x, step: torch.full_like(x, 3.0), lambda x: x, (1, 4, 4), generator())
    assert float(sampled.max()) == pytest.approx(largest, abs=0.2)

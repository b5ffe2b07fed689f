from dataclasses import replace

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor
from toy import fitted, generator, starts, toy_episodes, windows

from dwm_ray.world_models.dwm import DWM, DWMConfig

TINY = {"dim": 8, "multipliers": (1, 2), "sequence_length": 4}


def build(**options: object) -> DWM:
    return fitted(DWM, {**TINY, **options})


@pytest.mark.parametrize(
    "options", [{}, {"denoiser": "mlp"}, {"denoiser": "attention"}, {"prediction": "sample"}, {"guidance_scale": 1.0}]
)
def test_segments_stay_in_the_range_of_the_data(options: dict[str, object]) -> None:
    model = build(**options)
    obs, act = starts()
    segments = model.imagine(obs, act, policy=None, horizon=2, rtg=0.5, generator=generator())
    data = toy_episodes()
    assert (segments.obs >= torch.from_numpy(data.obs.min(0))).all()
    assert (segments.obs <= torch.from_numpy(data.obs.max(0))).all()
    assert segments.rew.min() >= data.rew.min() - 1e-5
    assert segments.rew.max() <= data.rew.max() + 1e-5
    assert (segments.discount == 1).all()
    assert (segments.penalty == 0).all()


def test_half_precision_samples_nearly_the_same() -> None:
    obs, act = starts()
    full, half = (
        build(sampling_precision=precision, prediction="sample", denoiser="mlp").imagine(
            obs, act, policy=None, horizon=3, rtg=0.5, generator=generator()
        )
        for precision in ("fp32", "bf16")
    )
    assert not torch.equal(full.obs, half.obs)
    torch.testing.assert_close(full.rew, half.rew, atol=0.1, rtol=0)


def test_training_precision_changes_the_loss_a_little() -> None:
    batch = windows()
    full, half = (
        build(training_precision=precision, denoiser="mlp").loss(batch, generator())[0]
        for precision in ("fp32", "bf16")
    )
    assert full != half
    torch.testing.assert_close(full, half, rtol=0.02, atol=0)


@pytest.mark.parametrize("prediction", ["noise", "sample"])
def test_loss_ignores_given_and_padded_entries(prediction: str) -> None:
    model = build(prediction=prediction)
    batch = windows()
    obs_mask, step_mask = torch.ones(64, 4).bool(), torch.ones(64, 4).bool()
    obs_mask[:, 3] = False
    step_mask[:, 2:] = False
    masked = replace(batch, obs_mask=obs_mask, step_mask=step_mask)

    class Spy(torch.nn.Module):
        def forward(self, x: Tensor, step: Tensor, condition: object) -> Tensor:
            self.out = torch.zeros_like(x, requires_grad=True)
            self.seen = x
            return self.out

    model.denoiser = spy = Spy()
    model.loss(masked, generator())[0].backward()
    learned = (spy.out.grad != 0).any(0)
    assert torch.equal(spy.seen[:, 0, :-1], model.units.obs(batch.obs[:, 0]))
    assert torch.equal(learned[:, :-1], torch.tensor([False, True, True, False])[:, None].expand(-1, 3))
    assert torch.equal(learned[:, -1], torch.tensor([True, True, False, False]))


def test_condition_dropout_is_the_configured_fraction() -> None:
    for fraction in (0.0, 0.25, 1.0):
        _, has_rtg, _ = build(condition_dropout=fraction)._noise(torch.zeros(4000, 4, 4), generator())
        assert float((~has_rtg).float().mean()) == pytest.approx(fraction, abs=0.03)


def test_a_perfect_noise_network_gives_back_the_window() -> None:
    model = build(temperature=0.0, prediction="noise", guidance_scale=1.0)
    truth = torch.linspace(-0.8, 0.8, 16).view(4, 4)

    class Oracle(torch.nn.Module):
        def forward(self, x: Tensor, step: Tensor, condition: object) -> Tensor:
            signal = model.signal[step][:, None, None]
            return (x - signal.sqrt() * truth) / (1 - signal).sqrt()

    model.denoiser = Oracle()
    obs, act = starts()
    segments = model.imagine(obs, act, policy=None, horizon=3, rtg=0.5, generator=generator())
    expected = model.units.obs.inverse(truth[1:, :-1]).expand(16, -1, -1)
    torch.testing.assert_close(segments.obs[:, 1:], expected, atol=1e-2, rtol=0)
    expected_rew = model.units.rew.inverse(truth[:3, -1:]).squeeze(-1).expand(16, -1)
    torch.testing.assert_close(segments.rew, expected_rew, atol=1e-2, rtol=0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"solver_steps": 6}, "solver_steps: got 6; expected at most diffusion_steps 5"),
        ({"sequence_length": 6}, "sequence_length: 6 does not fit .* expected a multiple of 4"),
        ({"dim": 20}, "multiple of 8"),
    ],
)
def test_impossible_options_are_named(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        DWMConfig.model_validate(options)

from dataclasses import replace

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor
from toy import SPACES, generator, starts, toy_episodes, windows

from dwm_ray.world_models.dwm import DWM, DWMConfig

TINY = {"dim": 8, "multipliers": (1, 2), "sequence_length": 4}


def build(**options: object) -> DWM:
    model = DWM(DWMConfig.model_validate({**TINY, **options}), SPACES)
    model.fit_normalizers(toy_episodes())
    return model


@pytest.mark.parametrize("options", [{}, {"denoiser": "mlp"}, {"prediction": "sample"}, {"guidance_scale": 1.0}])
def test_segments_start_at_the_pair_and_stay_in_the_datas_range(options: dict[str, object]) -> None:
    model = build(**options)
    obs, act = starts()
    segments = model.imagine(obs, act, policy=None, horizon=2, rtg=0.5, generator=generator())
    data = toy_episodes()
    assert segments.obs.shape == (16, 3, 3)
    assert torch.equal(segments.obs[:, 0], obs)
    assert torch.equal(segments.act, act[:, None])
    assert segments.rew.shape == segments.discount.shape == segments.penalty.shape == (16, 2)
    assert (segments.obs >= torch.from_numpy(data.obs.min(0))).all()
    assert (segments.obs <= torch.from_numpy(data.obs.max(0))).all()
    assert segments.rew.min() >= data.rew.min() - 1e-5
    assert segments.rew.max() <= data.rew.max() + 1e-5
    assert (segments.discount == 1).all()
    assert (segments.penalty == 0).all()
    assert (segments.source == 1).all()


def test_same_seed_same_segments_and_a_prefix_is_a_shorter_call() -> None:
    model = build()
    obs, act = starts()
    long = model.imagine(obs, act, policy=None, horizon=3, rtg=0.5, generator=generator())
    short = model.imagine(obs, act, policy=None, horizon=1, rtg=torch.full((16,), 0.5), generator=generator())
    other = model.imagine(obs, act, policy=None, horizon=3, rtg=0.5, generator=generator(1))
    assert torch.equal(long.prefix(1).obs, short.obs)
    assert torch.equal(long.prefix(1).rew, short.rew)
    assert not torch.equal(long.obs, other.obs)


def test_return_to_go_and_sampling_options_change_what_is_drawn() -> None:
    obs, act = starts()
    drawn = [
        build(**options).imagine(obs, act, policy=None, horizon=3, rtg=rtg, generator=generator()).obs
        for options, rtg in [
            ({}, 0.5),
            ({}, 0.9),
            ({"guidance_scale": 3.0}, 0.5),
            ({"solver_steps": 2}, 0.5),
            ({"temperature": 1.0}, 0.5),
        ]
    ]
    assert all(not torch.allclose(drawn[0], other) for other in drawn[1:])


def test_half_precision_draws_nearly_the_same() -> None:
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
    assert torch.equal(spy.seen[:, 0, :-1], model.obs_normalizer(batch.obs[:, 0]))
    assert torch.equal(learned[:, :-1], torch.tensor([False, True, True, False])[:, None].expand(-1, 3))
    assert torch.equal(learned[:, -1], torch.tensor([True, True, False, False]))


def test_condition_dropout_hides_the_share_it_names() -> None:
    for share in (0.0, 0.25, 1.0):
        _, has_rtg, _ = build(condition_dropout=share)._noise(torch.zeros(4000, 4, 4), generator())
        assert float((~has_rtg).float().mean()) == pytest.approx(share, abs=0.03)


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
    expected = model.obs_normalizer.inverse(truth[1:, :-1]).expand(16, -1, -1)
    torch.testing.assert_close(segments.obs[:, 1:], expected, atol=1e-2, rtol=0)
    expected_rew = model.rew_normalizer.inverse(truth[:3, -1:]).squeeze(-1).expand(16, -1)
    torch.testing.assert_close(segments.rew, expected_rew, atol=1e-2, rtol=0)


def test_initial_weights_follow_the_seed_option_and_leave_the_global_generator_alone() -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first, again, other = build(seed=1), build(seed=1), build(seed=2)
    assert torch.equal(torch.get_rng_state(), before)
    weights = [torch.cat([p.flatten() for p in model.parameters()]) for model in (first, again, other)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_horizon_is_checked() -> None:
    model = build()
    assert (model.sequence_length, model.max_horizon, model.follows_policy) == (4, 3, False)
    obs, act = starts()
    with pytest.raises(ValueError, match=r"horizon 4 is outside 1\.\.3"):
        model.imagine(obs, act, policy=None, horizon=4, rtg=0.5, generator=generator())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"solver_steps": 6}, "solver_steps 6 must not exceed diffusion_steps 5"),
        ({"sequence_length": 6}, "sequence_length 6 must be divisible by 4"),
        ({"dim": 20}, "multiple of 8"),
    ],
)
def test_impossible_options_are_named(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        DWMConfig.model_validate(options)


def test_weights_are_shared_across_sampling_options_only() -> None:
    base = DWMConfig()
    other: dict[str, object] = {
        "guidance_scale": 2.0,
        "solver_steps": 2,
        "temperature": 1.0,
        "sampling_precision": "bf16",
    }
    other["segments_per_pair"] = 4
    assert DWMConfig.model_validate(other).training_options() == base.training_options()
    assert DWMConfig(condition_on_action=False).training_options() != base.training_options()
    assert DWMConfig(dim=64).training_options() != base.training_options()

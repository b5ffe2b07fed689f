from dataclasses import replace

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor
from toy import SPACES, fitted, generator, toy_episodes, train, windows

from dwm_ray.types import Segments, Windows
from dwm_ray.world_models.autoregressive import Autoregressive, AutoregressiveConfig, _joined
from dwm_ray.world_models.dwm import DWM, DWMConfig

TINY = {"denoiser": "mlp", "prediction": "sample", "dim": 16, "multipliers": (2, 4), "guidance_scale": 1.0}


def build(**options: object) -> Autoregressive:
    return fitted(Autoregressive, {**TINY, **options})


def rolled_out(model: Autoregressive, horizon: int, rows: int = 64, rtg: float | Tensor = 0.0) -> Segments:
    start = windows(rows, length=2, seed=7)
    return model.imagine(
        start.obs[:, 0],
        start.act[:, 0],
        policy=lambda obs, step: torch.full((len(obs), 1), 0.2 * step),
        horizon=horizon,
        rtg=rtg,
        generator=generator(),
    )


def follow(obs: Tensor, act: Tensor) -> tuple[Tensor, Tensor]:
    """Next state and reward of a linear system that moves fast enough to see in one step."""
    return 0.5 * obs + 0.5 * act, obs[:, :1] + act


def noisy_transitions(num: int, rng: torch.Generator) -> Windows:
    """States of the toy, random actions, the system above with noise of .05."""
    states = torch.from_numpy(toy_episodes().obs)
    obs = states[torch.randint(len(states), (num,), generator=rng)]
    act = torch.rand(num, 1, generator=rng) * 2 - 1
    later, rew = follow(obs, act)
    later = later + 0.05 * torch.randn(num, 3, generator=rng)
    recorded = torch.ones(num, 2).bool()
    rtg = torch.rand(num, generator=rng)
    pair = torch.stack([obs, later], 1)
    return Windows(pair, act[:, None].expand(-1, 2, -1), rew.expand(-1, 2), recorded, recorded, ~recorded, rtg)


@pytest.fixture(scope="module")
def trained() -> Autoregressive:
    model = build(multipliers=(4, 4), temperature=0.0)
    train(model, lambda rng: noisy_transitions(128, rng), 500, 3e-3, 0.05)
    return model


def test_a_trained_rollout_follows_the_policy_and_the_dynamics(trained: Autoregressive) -> None:
    segments = rolled_out(trained, 4, rows=256)
    assert torch.allclose(segments.act[:, 1:, 0], torch.tensor([0.2, 0.4, 0.6]))
    truth, rews = [segments.obs[:, 0]], []
    for step in range(4):
        later, rew = follow(truth[-1], segments.act[:, step])
        truth.append(later)
        rews.append(rew)
    for step in range(1, 5):
        error = (segments.obs[:, step] - truth[step]).square().mean()
        assert error < 0.1 * (truth[0] - truth[step]).square().mean(), step
    assert (segments.rew - torch.cat(rews, 1)).abs().mean() < 0.1


def test_a_rollout_is_dwm_called_step_by_step() -> None:
    """Golden: the same network as a DWM of two states, its own sample as the next start."""
    model = build()
    one_step = DWM(DWMConfig.model_validate({**TINY, "sequence_length": 2}), SPACES)
    one_step.load_state_dict(model.one_step.state_dict())
    segments = rolled_out(model, 3, rtg=0.4)
    obs, act, rng = segments.obs[:, 0], segments.act[:, 0], generator()
    for step in range(3):
        single = one_step.imagine(obs, act, policy=None, horizon=1, rtg=0.4, generator=rng)
        assert torch.equal(segments.obs[:, step + 1], single.obs[:, 1])
        assert torch.equal(segments.rew[:, step], single.rew[:, 0])
        obs, act = single.obs[:, 1], torch.full((64, 1), 0.2 * (step + 1))


def test_the_first_termination_is_final() -> None:
    """A rollout has ended from the first step on that terminates."""
    single = rolled_out(build(continuation="on"), 1, rows=2)
    steps = [
        replace(single, discount=torch.tensor(goes_on)[:, None]) for goes_on in ([1.0, 1.0], [0.0, 1.0], [1.0, 1.0])
    ]
    assert torch.equal(_joined(steps).discount, torch.tensor([[1.0, 0.0, 0.0], [1.0, 1.0, 1.0]]))


def test_the_unet_takes_two_states() -> None:
    model = build(denoiser="unet", dim=8, multipliers=(1, 2))
    assert model.loss(windows(length=2), generator())[0].isfinite()
    assert rolled_out(model, 2).obs.isfinite().all()


@pytest.mark.parametrize(
    ("options", "message"),
    [({"sequence_length": 8}, "sequence_length"), ({"denoiser": "unet", "multipliers": (1, 2, 4)}, "multiple of 4")],
)
def test_impossible_options_are_named(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        AutoregressiveConfig.model_validate(options)

from dataclasses import replace

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor
from toy import SPACES, generator, toy_episodes

from dwm_ray.data.windows import WindowSet
from dwm_ray.types import Segments, Windows
from dwm_ray.world_models.autoregressive import Autoregressive, AutoregressiveConfig, _joined
from dwm_ray.world_models.dwm import DWM, DWMConfig

TINY = {"denoiser": "mlp", "prediction": "sample", "dim": 16, "multipliers": (2, 4), "guidance_scale": 1.0}


def build(**options: object) -> Autoregressive:
    model = Autoregressive(AutoregressiveConfig.model_validate({**TINY, **options}), SPACES)
    model.fit_normalizers(toy_episodes())
    return model


def windows(rows: int = 64, seed: int = 0) -> Windows:
    return WindowSet(toy_episodes(), 2, 0.99, 10.0).sample(rows, torch.Generator().manual_seed(seed))


def rolled_out(model: Autoregressive, horizon: int, rows: int = 64, rtg: float | Tensor = 0.0) -> Segments:
    start = windows(rows, seed=7)
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


def noisy_transitions(num: int, draw: torch.Generator) -> Windows:
    """States of the toy, random actions, the system above with noise of .05."""
    states = torch.from_numpy(toy_episodes().obs)
    obs = states[torch.randint(len(states), (num,), generator=draw)]
    act = torch.rand(num, 1, generator=draw) * 2 - 1
    later, rew = follow(obs, act)
    later = later + 0.05 * torch.randn(num, 3, generator=draw)
    recorded = torch.ones(num, 2).bool()
    rtg = torch.rand(num, generator=draw)
    pair = torch.stack([obs, later], 1)
    return Windows(pair, act[:, None].expand(-1, 2, -1), rew.expand(-1, 2), recorded, recorded, ~recorded, rtg)


@pytest.fixture(scope="module")
def trained() -> Autoregressive:
    num_updates, draw = 500, generator()
    model = build(multipliers=(4, 4), temperature=0.0)
    adam = torch.optim.Adam(model.parameters(), lr=3e-3)
    decay = torch.optim.lr_scheduler.LinearLR(adam, 1.0, 0.05, num_updates)
    for _ in range(num_updates):
        adam.zero_grad()
        model.loss(noisy_transitions(128, draw), draw)[0].backward()
        adam.step()
        decay.step()
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
    obs, act, draw = segments.obs[:, 0], segments.act[:, 0], generator()
    for step in range(3):
        single = one_step.imagine(obs, act, policy=None, horizon=1, rtg=0.4, generator=draw)
        assert torch.equal(segments.obs[:, step + 1], single.obs[:, 1])
        assert torch.equal(segments.rew[:, step], single.rew[:, 0])
        obs, act = single.obs[:, 1], torch.full((64, 1), 0.2 * (step + 1))


def test_segments_carry_all_actions_and_a_prefix_is_a_shorter_rollout() -> None:
    model = build()
    long, short = rolled_out(model, 5), rolled_out(model, 2)
    assert long.act.shape == (64, 5, 1)
    assert long.rew.shape == long.discount.shape == long.penalty.shape == (64, 5)
    assert all(torch.equal(value, getattr(short, key)) for key, value in vars(long.prefix(2)).items())


def test_the_generator_is_the_only_randomness() -> None:
    model = build()
    torch.manual_seed(1)
    first = rolled_out(model, 3)
    torch.manual_seed(2)
    assert torch.equal(first.obs, rolled_out(model, 3).obs)


@pytest.mark.parametrize(
    "options", [{"solver_steps": 2}, {"temperature": 1.0}, {"guidance_scale": 3.0}, {"sampling_precision": "bf16"}]
)
def test_sampling_options_reach_the_network_inside(options: dict[str, object]) -> None:
    model = build()
    plain = rolled_out(model, 2, rtg=0.5)
    assert not torch.equal(rolled_out(model.with_options(options), 2, rtg=0.5).obs, plain.obs)
    assert torch.equal(rolled_out(model, 2, rtg=0.5).obs, plain.obs)


def test_a_task_that_ended_stays_ended() -> None:
    """With `continuation` each step says whether the task goes on; a rollout has ended from the first no on."""
    single = rolled_out(build(continuation="on"), 1, rows=2)
    steps = [
        replace(single, discount=torch.tensor(goes_on)[:, None]) for goes_on in ([1.0, 1.0], [0.0, 1.0], [1.0, 1.0])
    ]
    assert torch.equal(_joined(steps).discount, torch.tensor([[1.0, 0.0, 0.0], [1.0, 1.0, 1.0]]))


def test_the_unet_takes_two_states() -> None:
    model = build(denoiser="unet", dim=8, multipliers=(1, 2))
    assert model.loss(windows(), generator())[0].isfinite()
    assert rolled_out(model, 2).obs.isfinite().all()


def test_a_longer_rollout_needs_a_policy_and_has_a_limit() -> None:
    start = windows(2)
    obs, act = start.obs[:, 0], start.act[:, 0]
    with pytest.raises(ValueError, match="needs a policy"):
        build().imagine(obs, act, policy=None, horizon=2, rtg=0.0, generator=generator())
    with pytest.raises(ValueError, match=r"outside 1\.\.7 \(world_model\.rollout_limit\)"):
        rolled_out(build(rollout_limit=7), 8)


@pytest.mark.parametrize(
    ("options", "message"),
    [({"sequence_length": 8}, "sequence_length"), ({"denoiser": "unet", "multipliers": (1, 2, 4)}, "divisible by 4")],
)
def test_impossible_options_are_named(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        AutoregressiveConfig.model_validate(options)


def test_weights_are_shared_across_sampling_options_only() -> None:
    base = AutoregressiveConfig()
    assert AutoregressiveConfig(rollout_limit=5, solver_steps=2).training_options() == base.training_options()
    assert AutoregressiveConfig(dim=64).training_options() != base.training_options()

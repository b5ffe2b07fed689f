"""Golden numbers of DWM, and its options: segments per pair, conditioning on the action, continuation."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor
from toy import fitted, generator, starts, toy_episodes, train, windows

from dwm_ray.data.windows import WindowSet
from dwm_ray.types import Windows
from dwm_ray.world_models.base import SegmentRequest
from dwm_ray.world_models.dwm import DWM

TINY = {"dim": 8, "multipliers": (1, 2), "sequence_length": 4}


def build(**options: object) -> DWM:
    return fitted(DWM, {**TINY, **options})


def request(obs: Tensor, act: Tensor) -> SegmentRequest:
    return SegmentRequest(obs, act, None, 3, torch.full((len(obs),), 0.5), generator())


def test_loss_and_segments_golden() -> None:
    model, batch = build(), windows()
    loss, _ = model.loss(batch, generator())
    assert loss.item() == pytest.approx(1.19106674, rel=1e-5)
    segments = model.imagine(batch.obs[:, 0], batch.act[:, 0], policy=None, horizon=2, rtg=0.5, generator=generator())
    torch.testing.assert_close(segments.rew[0], torch.tensor([-2.4031, -1.5018]), atol=1e-3, rtol=0)
    torch.testing.assert_close(segments.obs[0, 2], torch.tensor([-0.6879, -1.2591, 1.9603]), atol=1e-3, rtol=0)


def test_weights_of_models_saved_before_have_their_place() -> None:
    names = {name.split(".")[0] for name in build().state_dict()}
    assert names == {"units", "act_normalizer", "denoiser"}


def test_several_segments_a_pair_golden() -> None:
    """Rewards are their mean, states the first one's, penalties the largest squared distance in normalised units."""
    model = build(segments_per_pair=3)
    sampled = torch.rand(2, 3, 4, 4, generator=generator()) * 2 - 1  # [pair, segment, position, (3 states, reward)]
    model._sample = lambda request: sampled  # type: ignore[method-assign]
    obs, act = starts(2)
    segments = model.imagine(obs, act, policy=None, horizon=2, rtg=0.5, generator=generator())
    torch.testing.assert_close(segments.obs[:, 1:], model.units.obs.inverse(sampled[:, 0, 1:3, :3]))
    rewards = torch.stack([model.units.rew.inverse(sampled[:, i, :2, 3:]).squeeze(-1) for i in range(3)])
    torch.testing.assert_close(segments.rew, rewards.mean(0))
    for pair in range(2):
        for step in range(2):
            parts = [torch.cat([sampled[pair, i, step, 3:], sampled[pair, i, step + 1, :3]]) for i in range(3)]
            gaps = [float((a - b).square().sum()) for a in parts for b in parts]
            assert float(segments.penalty[pair, step]) == pytest.approx(max(gaps), rel=1e-4)


def test_segments_of_one_pair_start_alike_and_differ_later() -> None:
    obs, act = starts(3)
    sampled = build(segments_per_pair=4)._sample(request(obs, act))
    assert sampled.shape == (3, 4, 4, 4)
    assert torch.equal(sampled[:, 0, 0, :-1], sampled[:, 3, 0, :-1])
    assert not torch.allclose(sampled[:, 0, 1:], sampled[:, 3, 1:])
    penalty = build(segments_per_pair=4).imagine(obs, act, policy=None, horizon=3, rtg=0.5, generator=generator())
    assert (penalty.penalty > 0).all()


@pytest.mark.parametrize("conditioned", [True, False])
def test_conditioning_on_the_first_action(conditioned: bool) -> None:
    model, batch = build(condition_on_action=conditioned), windows()
    obs, act = starts()
    first, other = (
        model.imagine(obs, chosen, policy=None, horizon=3, rtg=0.5, generator=generator()) for chosen in (act, -act)
    )
    assert torch.equal(first.obs, other.obs) is not conditioned
    assert torch.equal(other.act[:, 0], -act)
    losses = [model.loss(replace(batch, act=sign * batch.act), generator())[0] for sign in (1, -1)]
    assert torch.equal(*losses) is not conditioned


def test_a_window_that_ends_sets_the_discount() -> None:
    model = build(continuation="on", prediction="sample", guidance_scale=1.0, temperature=0.0)
    truth = torch.zeros(4, 5)
    truth[:, -1] = torch.tensor([1.0, -1.0, 1.0, 1.0])

    class Oracle(torch.nn.Module):
        def forward(self, x: Tensor, step: Tensor, condition: object) -> Tensor:
            return truth.repeat(len(x), 1, 1)

    model.denoiser = Oracle()
    obs, act = starts(2)
    segments = model.imagine(obs, act, policy=None, horizon=3, rtg=0.5, generator=generator())
    assert torch.equal(segments.discount, torch.tensor([[1.0, 0.0, 0.0]]).expand(2, -1))
    torch.testing.assert_close(segments.obs[:, 1:], model.units.obs.inverse(truth[1:, :3]).expand(2, -1, -1))


@pytest.mark.parametrize(("continuation", "size"), [("auto", 4), ("off", 4), ("on", 5)])
def test_continuation_adds_a_channel_that_loss_reaches(continuation: str, size: int) -> None:
    model, batch = build(continuation=continuation, prediction="sample"), windows()
    ended = torch.zeros(64, 4).bool()
    ended[:, 2] = True
    calm, terminating = (
        model.loss(replace(batch, terminated=flags), generator())[0].item()
        for flags in (torch.zeros_like(ended), ended)
    )
    assert model._sample(request(*starts(2))).shape[-1] == size
    assert (calm != terminating) is (continuation == "on")


def test_terminations_are_learned() -> None:
    """Episodes end when s_0 falls below -1: generated ones then do too, and others do not."""
    model = build(continuation="on", prediction="sample", denoiser="mlp", dim=16, multipliers=(2, 2))
    data = WindowSet(toy_episodes(), 4, 0.99, 10.0)

    def terminating(rng: torch.Generator) -> Windows:
        batch = data.sample(64, rng)
        low = batch.obs[..., 0] < -1
        terminated = low & (low.cumsum(1) == 1)
        return replace(batch, terminated=terminated, step_mask=(low.cumsum(1) == 0) | terminated)

    train(model, terminating, 100, 1e-2)
    fresh = data.sample(400, generator(9))
    segments = model.imagine(
        fresh.obs[:, 0], fresh.act[:, 0], policy=None, horizon=1, rtg=fresh.rtg, generator=generator()
    )
    ends = segments.discount[:, 0] == 0
    assert (ends == (fresh.obs[:, 0, 0] < -1)).float().mean() > 0.95

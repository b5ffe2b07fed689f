from dataclasses import replace
from itertools import count

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import toy
from pydantic import ValidationError
from torch import Tensor
from toy import fitted, generator, train

from dwm_ray.types import Windows
from dwm_ray.world_models.transformer import Block, Transformer

TINY = {"width": 16, "num_layers": 2, "num_heads": 2, "sequence_length": 5}


def build(**options: object) -> Transformer:
    return fitted(Transformer, {**TINY, **options})


def windows(rows: int = 64, seed: int = 0) -> Windows:
    return toy.windows(rows, 5, seed)


def steered_windows(num: int, seed: int) -> Windows:
    """s' = .9 s + .3 (rtg + noise) in every entry, reward rtg: the future follows the return-to-go alone."""
    rng = torch.Generator().manual_seed(seed)
    rtg = torch.rand(num, generator=rng)
    states = [torch.randn(num, 3, generator=rng)]
    for _ in range(4):
        states.append(0.9 * states[-1] + 0.3 * (rtg[:, None] + 0.1 * torch.randn(num, 3, generator=rng)))
    recorded = torch.ones(num, 5).bool()
    act = torch.rand(num, 5, 1, generator=rng) * 2 - 1
    return Windows(torch.stack(states, 1), act, rtg[:, None].expand(-1, 5), recorded, recorded, ~recorded, rtg)


@pytest.fixture(scope="module")
def trained() -> Transformer:
    model, seeds = build(), count()
    train(model, lambda _: steered_windows(128, next(seeds)), 250, 1e-2, 0.05)
    return model


def test_a_trained_model_follows_the_dynamics_and_the_return_to_go(trained: Transformer) -> None:
    start = steered_windows(256, 10_000)
    obs, act = start.obs[:, 0], start.act[:, 0]
    mean = trained.with_options({"temperature": 0.0})
    for rtg in (0.2, 0.8):
        segments = mean.imagine(obs, act, policy=None, horizon=4, rtg=rtg, generator=generator())
        truth = [obs]
        for _ in range(4):
            truth.append(0.9 * truth[-1] + 0.3 * rtg)
        error = (segments.obs - torch.stack(truth, 1))[:, 1:].square().mean()
        no_change = (obs[:, None] - torch.stack(truth, 1)[:, 1:]).square().mean()
        assert error < 0.05 * no_change
        assert (segments.rew - rtg).abs().mean() < 0.08


def test_the_predicted_spread_is_the_datas(trained: Transformer) -> None:
    """The noise of a step is .3 * .1 in raw units; temperature scales it."""
    start = steered_windows(512, 10_000)
    obs, act = start.obs[:, 0], start.act[:, 0]
    mean, full, half = (
        trained.with_options({"temperature": scale})
        .imagine(obs, act, policy=None, horizon=1, rtg=0.5, generator=generator())
        .obs[:, 1]
        for scale in (0.0, 1.0, 0.5)
    )
    assert float((full - mean).std()) == pytest.approx(0.03, rel=0.25)
    torch.testing.assert_close((half - mean) * 2, full - mean, rtol=0, atol=1e-5)


def test_sampling_with_cached_keys_equals_the_whole_forward() -> None:
    """Each imagined step is the mean that the network gives when it reads the whole imagined window at once."""
    model = build(temperature=0.0)
    batch = windows(16)
    segments = model.imagine(
        batch.obs[:, 0], batch.act[:, 0], policy=None, horizon=4, rtg=batch.rtg, generator=generator()
    )
    rew = F.pad(segments.rew, (0, 1))
    with torch.no_grad():
        mean, _ = model._teacher_forced(replace(batch, obs=segments.obs, rew=rew))
    change = model.change_normalizer(segments.obs[:, 1:] - segments.obs[:, :-1])
    torch.testing.assert_close(change, mean[..., :-1], atol=1e-4, rtol=0)
    torch.testing.assert_close(model.rew_normalizer(segments.rew[..., None]), mean[..., -1:], atol=1e-4, rtol=0)


@pytest.mark.parametrize("step", [0, 1, 2, 3])
def test_later_tokens_and_actions_cannot_leak(step: int) -> None:
    """The prediction of a step depends on the states up to it and the rewards before it, and not on later actions."""
    model, batch = build(), windows(8)
    obs, act, rew = (x.clone().requires_grad_() for x in (batch.obs, batch.act, batch.rew))
    mean, variance = model._teacher_forced(replace(batch, obs=obs, act=act, rew=rew))
    (mean[:, step].sum() + variance[:, step].sum()).backward()

    def entries(x: Tensor) -> list[bool]:
        return (x.grad.abs().flatten(2).amax((0, 2)) > 0).tolist() if x.dim() == 3 else (x.grad != 0).any(0).tolist()

    assert entries(obs) == [i <= step for i in range(5)]
    assert entries(rew) == [i < step for i in range(5)]
    assert entries(act) == [True, False, False, False, False]


def test_attention_golden() -> None:
    """One block against the definition, head by head and token by token, in numpy."""
    torch.manual_seed(0)
    block, x = Block(8, 2), torch.randn(1, 3, 8)
    with torch.no_grad():
        out, _ = block(x, None)
        normed = block.attention_norm(x)[0].numpy()
        weight, bias = block.query_key_value.weight.numpy(), block.query_key_value.bias.numpy()
    query, key, value = np.split(normed @ weight.T + bias, 3, axis=1)
    mixed = np.zeros((3, 8))
    for head in (slice(0, 4), slice(4, 8)):
        for i in range(3):
            score = np.array([query[i, head] @ key[j, head] / 2.0 for j in range(i + 1)])  # 2 = sqrt(4)
            attention = np.exp(score) / np.exp(score).sum()
            mixed[i, head] = sum(attention[j] * value[j, head] for j in range(i + 1))
    with torch.no_grad():
        hidden = x[0] + block.merge(torch.from_numpy(mixed).float())
        torch.testing.assert_close(out[0], hidden + block.mlp(hidden), atol=1e-5, rtol=0)


def test_loss_golden_and_masked() -> None:
    model, batch = build(), windows(8)
    torch.nn.init.zeros_(model.head.weight)
    torch.nn.init.zeros_(model.head.bias)  # mean 0, variance softplus(0) = log 2
    step_mask, obs_mask = torch.zeros(8, 5).bool(), torch.zeros(8, 5).bool()
    step_mask[0, :2] = obs_mask[0, :2] = True  # the state after step 1 is not recorded, its reward is
    loss, metrics = model.loss(replace(batch, step_mask=step_mask, obs_mask=obs_mask), generator())
    change = (batch.obs[0, 1] - batch.obs[0, 0]) / model.change_normalizer.scale
    change = change - model.change_normalizer.mean / model.change_normalizer.scale
    rew = (batch.rew[0, :2] - model.rew_normalizer.mean) / model.rew_normalizer.scale
    squared = torch.cat([change, rew]).square()
    variance = torch.tensor(2.0).log() + 1e-4
    torch.testing.assert_close(loss.detach(), (0.5 * (squared / variance + variance.log())).mean())
    torch.testing.assert_close(metrics["mse"], squared.mean())


def test_two_states_are_enough() -> None:
    model = build(sequence_length=2)
    batch = toy.windows(4, 2)
    assert model.max_horizon == 1
    assert model.loss(batch, generator())[0].isfinite()
    segments = model.imagine(batch.obs[:, 0], batch.act[:, 0], policy=None, horizon=1, rtg=0.0, generator=generator())
    assert segments.obs.shape == (4, 2, 3)


def test_half_precision_samples_nearly_the_same() -> None:
    batch = windows(64)
    full, half = (
        build(sampling_precision=precision).imagine(
            batch.obs[:, 0], batch.act[:, 0], policy=None, horizon=4, rtg=0.5, generator=generator()
        )
        for precision in ("fp32", "bf16")
    )
    assert half.obs.dtype == torch.float32
    assert not torch.equal(full.obs, half.obs)
    torch.testing.assert_close(full.obs, half.obs, atol=0.1, rtol=0)
    losses = [build(training_precision=precision).loss(batch, generator())[0] for precision in ("fp32", "bf16")]
    assert losses[0] != losses[1]
    torch.testing.assert_close(*losses, rtol=0.02, atol=0)


def test_width_is_divisible_by_the_heads() -> None:
    with pytest.raises(ValidationError, match="width: 16 is not divisible; expected a multiple of num_heads 3"):
        build(num_heads=3)

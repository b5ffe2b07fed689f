from dataclasses import replace

import pytest
import torch
import toy
from pydantic import ValidationError
from torch import nn
from toy import fitted, generator, train

from dwm_ray.data.windows import WindowSet
from dwm_ray.types import Windows
from dwm_ray.world_models.one_step import OneStep, OneStepConfig
from dwm_ray.world_models.parts.ensemble import BestMembers, EnsembleMLP, largest_distance

TINY = {"width": 16, "num_layers": 2, "ensemble_size": 3, "num_elites": 2, "learning_rate": 3e-3}


def build(**options: object) -> OneStep:
    return fitted(OneStep, {**TINY, **options})


def windows(rows: int = 64, seed: int = 0) -> Windows:
    return toy.windows(rows, 2, seed)


@pytest.fixture(scope="module")
def trained() -> OneStep:
    model, data = build(), WindowSet(toy.toy_episodes(), 2, 0.99, 10.0)
    train(model, lambda rng: data.sample(128, rng), 500, 3e-3)
    return model


def test_a_trained_rollout_follows_the_policy_and_the_dynamics(trained: OneStep) -> None:
    start = windows(200, seed=7)
    obs, act = start.obs[:, 0], start.act[:, 0]
    segments = trained.imagine(
        obs, act, policy=lambda o, step: torch.full((len(o), 1), 0.1 * step), horizon=4, rtg=0.0, generator=generator()
    )
    assert torch.equal(segments.act[:, 0], act)
    assert torch.allclose(segments.act[:, 1:, 0], torch.tensor([0.1, 0.2, 0.3]))
    truth, rew = [obs], []
    for step in range(4):
        rew.append(truth[-1][:, 0] + segments.act[:, step, 0])
        truth.append(0.9 * truth[-1] + 0.3 * segments.act[:, step])
    assert (segments.obs - torch.stack(truth, 1)).abs().mean() < 0.05
    assert (segments.rew - torch.stack(rew, 1)).abs().mean() < 0.1
    assert (segments.discount == 1).all()
    assert (segments.source == 1).all()


def test_penalty_is_larger_far_from_the_data(trained: OneStep) -> None:
    start = windows(200)
    near, far = (
        trained.imagine(
            start.obs[:, 0] * scale, start.act[:, 0], policy=None, horizon=1, rtg=0.0, generator=generator()
        ).penalty.mean()
        for scale in (1, 20)
    )
    assert 0 < near < far / 10


def test_sampling_adds_the_predicted_spread() -> None:
    start = windows(4000)
    mean, sampled = (
        build(sample=sample, num_elites=1).imagine(
            start.obs[:, 0], start.act[:, 0], policy=None, horizon=1, rtg=0.0, generator=generator()
        )
        for sample in (False, True)
    )
    model = build(num_elites=1)
    _, variance = model._predict(start.obs[:, 0], start.act[:, 0])
    spread = (sampled.rew - mean.rew).std() / model.target_normalizer.scale[-1]
    assert float(spread) == pytest.approx(float(variance[0, :, -1].detach().mean().sqrt()), rel=0.1)


def test_loss_golden_and_masked() -> None:
    model = build()
    batch = windows(8)
    for param in model.parameters():
        nn.init.zeros_(param)  # mean 0, variance softplus(0) = log 2
    step_mask = torch.zeros(8, 2).bool()
    step_mask[0] = True
    loss, metrics = model.loss(replace(batch, step_mask=step_mask), generator())
    change = torch.cat([batch.obs[0, 1] - batch.obs[0, 0], batch.rew[0, :1]])
    squared = model.target_normalizer(change).square()
    log2 = torch.tensor(2.0).log() + 1e-4
    torch.testing.assert_close(loss.detach(), (0.5 * (squared / log2 + log2.log())).mean())
    torch.testing.assert_close(metrics["mse"], squared.mean())


def test_elites_are_the_members_with_the_least_error() -> None:
    model = build()
    with torch.no_grad():
        model.net.layers[-1].bias[0] += 10.0
    model.finish(windows(256))
    assert sorted(model.elite.tolist()) == [1, 2]
    fresh = build()
    fresh.load_state_dict(model.state_dict())
    assert torch.equal(fresh.elite, model.elite)


def spoiled(model: OneStep, member: int) -> None:
    with torch.no_grad():
        model.net.layers[-1].bias[member] += 1.0


def test_members_are_retained_at_their_best() -> None:
    """Members are copied, each at its own best; an improvement of less than 1 % does not count."""
    model, holdout = build(), windows(256)
    assert model.observe(holdout) is False
    good = [param.clone() for param in model.net.parameters()]
    spoiled(model, member=0)
    model.observe(holdout)
    assert int(model.best.stale) == 1
    model.finish(holdout)
    assert all(torch.equal(*pair) for pair in zip(good, model.net.parameters(), strict=True))
    ensemble = EnsembleMLP(2, [1, 1])
    best = BestMembers(ensemble)
    for errors, least, stale in [
        ([4.0, 2.0], [4.0, 2.0], 0),
        ([3.99, 1.9], [4.0, 1.9], 0),
        ([5.0, 1.89], [4.0, 1.9], 1),
    ]:
        best.observe(ensemble, torch.tensor(errors))
        torch.testing.assert_close(best.error, torch.tensor(least))
        assert int(best.stale) == stale


def test_disagreement_is_the_rollouts_penalty() -> None:
    start = windows(32)
    obs, act = start.obs[:, 0], start.act[:, 0]
    segments = build().imagine(obs, act, policy=None, horizon=1, rtg=0.0, generator=generator())
    torch.testing.assert_close(build().disagreement(obs, act), segments.penalty[:, 0])


def test_members_equal_separate_networks() -> None:
    torch.manual_seed(0)
    ensemble = EnsembleMLP(3, [4, 8, 2])
    x = torch.randn(5, 4)
    out = ensemble(x)
    for member in range(3):
        first, last = (layer for layer in ensemble.layers)
        hidden = nn.functional.silu(x @ first.weight[member] + first.bias[member])
        torch.testing.assert_close(out[member], hidden @ last.weight[member] + last.bias[member])
    own_rows = torch.randn(3, 5, 4)
    torch.testing.assert_close(ensemble(own_rows)[1], ensemble(own_rows[1])[1])


def test_largest_distance_golden() -> None:
    predictions = torch.tensor([[[0.0, 0.0]], [[3.0, 4.0]], [[1.0, 0.0]]])
    torch.testing.assert_close(largest_distance(predictions), torch.tensor([25.0]))


def test_more_elites_than_members_are_refused() -> None:
    with pytest.raises(ValidationError, match="num_elites: got 8; expected at most ensemble_size 7"):
        OneStepConfig(num_elites=8)

from dataclasses import replace

import pytest
import torch
from pydantic import ValidationError
from toy import SPACES, fitted, generator, starts, windows

from dwm_ray.types import Segments
from dwm_ray.world_models.dawm import DAWM, DAWMConfig
from dwm_ray.world_models.dwm import DWM, DWMConfig

TINY = {"dim": 8, "multipliers": (1, 2), "sequence_length": 4, "inverse_width": 16, "inverse_members": 3}


def build(**options: object) -> DAWM:
    return fitted(DAWM, {**TINY, **options})


def imagined(model: DAWM | DWM, horizon: int = 3) -> Segments:
    return model.imagine(*starts(8), policy=None, horizon=horizon, rtg=0.5, generator=generator())


def dwm_of(model: DAWM) -> DWM:
    """DWM by itself, with the weights that are the generator's."""
    alone = DWM(DWMConfig.of(model.config), SPACES)
    alone.load_state_dict(model.dwm.state_dict())
    return alone


def test_segments_are_dwms_with_all_actions() -> None:
    model = build()
    segments, plain = imagined(model), imagined(dwm_of(model))
    for part in ("obs", "rew", "discount", "source"):
        assert torch.equal(getattr(segments, part), getattr(plain, part)), part
    assert segments.act.shape == (8, 3, 1)
    assert torch.equal(segments.act[:, :1], plain.act)
    assert len(segments.transitions()) == 8 * 3


def test_later_actions_and_penalties_golden() -> None:
    """Action i is the mean of the members' for (s_i, s_{i+1}); the penalty their largest squared distance."""
    model = build()
    segments = imagined(model)
    for step in range(3):
        with torch.no_grad():
            members = model.inverse(segments.obs[:, step], segments.obs[:, step + 1])
        for row in range(8):
            gaps = [float((a[row] - b[row]).square().sum()) for a in members for b in members]
            assert float(segments.penalty[row, step]) == pytest.approx(max(gaps), rel=1e-3, abs=1e-6)
        if step:
            torch.testing.assert_close(segments.act[:, step], members.mean(0))


def test_a_single_inverse_model_has_no_penalty() -> None:
    assert (imagined(build(inverse_members=1)).penalty == 0).all()


def test_both_parts_learn_as_if_alone() -> None:
    model, batch = build(inverse_dropout=0.0), windows()
    loss, metrics = model.loss(batch, generator())
    loss.backward()
    alone = dwm_of(model)
    own, _ = alone.loss(batch, generator())
    own.backward()
    for ours, theirs in zip(model.dwm.parameters(), alone.parameters(), strict=True):
        assert torch.equal(ours.grad, theirs.grad)
    members = model.inverse(batch.obs[:, 0], batch.obs[:, 1])
    expected = (members - batch.act[:, 0]).square().mean()  # the toy's bounds are -1 and 1
    torch.testing.assert_close(metrics["inverse_loss"], expected.detach())
    torch.testing.assert_close(loss.detach(), own.detach() + expected.detach())


def test_unrecorded_transitions_teach_the_inverse_dynamics_nothing() -> None:
    model, batch = build(inverse_dropout=0.0), windows()
    known = torch.arange(64) % 2 == 0
    obs_mask = batch.obs_mask.clone()
    obs_mask[~known, 1] = False
    _, masked = model.loss(replace(batch, obs_mask=obs_mask), generator())
    torch.testing.assert_close(masked["inverse_loss"], model.loss(batch[known], generator())[1]["inverse_loss"])


def test_dropout_is_for_training_only() -> None:
    model, batch = build(inverse_dropout=0.5), windows()
    training = {model.loss(batch, generator(seed))[1]["inverse_loss"].item() for seed in (0, 1)}
    model.eval()
    measuring = {model.loss(batch, generator(seed))[1]["inverse_loss"].item() for seed in (0, 1)}
    assert (len(training), len(measuring)) == (2, 1)


def test_recorded_segments_can_be_given_inferred_actions() -> None:
    model, batch = build(), windows(8)
    segments = replace(imagined(model), obs=batch.obs, act=batch.act[:, :3])
    inferred = model.with_actions(segments)
    assert torch.equal(inferred.obs, batch.obs)
    assert torch.equal(inferred.act[:, 0], batch.act[:, 0])
    assert not torch.equal(inferred.act[:, 1:], batch.act[:, 1:3])


def test_options_are_dwms_except_temperature_and_options_of_value_expansion() -> None:
    config = DAWMConfig()
    shared = DWMConfig.of(config)
    assert (config.temperature, shared.temperature, shared.sequence_length) == (1.0, 1.0, 8)
    assert (config.inverse_members, config.inverse_width, config.inverse_dropout) == (5, 512, 0.1)
    half = {"replay.real_ratio": 0.5, "filter": "disagreement"}
    assert DAWMConfig.run_options("paper") == half
    assert DAWMConfig.run_options("laptop") == DWMConfig.run_options("laptop") | half
    for option in ("segments_per_pair", "condition_on_action"):  # one row's reward, and its action, must be its own
        with pytest.raises(ValidationError, match=option):
            DAWMConfig.model_validate({option: 1})

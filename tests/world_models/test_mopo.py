import torch
from toy import fitted, generator, toy_episodes

from dwm_ray.experiment.profiles import run_config
from dwm_ray.replay.sources import selection, source_kind
from dwm_ray.world_models.mopo import MOPO
from dwm_ray.world_models.one_step import OneStep

TINY = {"width": 16, "num_layers": 2, "ensemble_size": 3, "num_elites": 2, "sample": False}


def test_every_step_of_a_rollout_becomes_a_penalised_transition_of_the_policy() -> None:
    model, episodes = fitted(MOPO, TINY), toy_episodes()
    obs, act = torch.from_numpy(episodes.obs[:6]), torch.from_numpy(episodes.act[:6])
    segments = model.imagine(obs, act, policy=lambda o, step: 0.1 * o[:, :1], horizon=5, rtg=0.0, generator=generator())
    rows = selection(run_config("laptop", "mopo", "td3_bc")).apply(segments, generator())
    assert rows.act.shape == (30, 1, act.shape[1])
    torch.testing.assert_close(rows.act.view(6, 5, -1)[:, 1:], 0.1 * segments.obs[:, 1:5, :1])
    assert (rows.penalty > 0).all()


def test_rollouts_are_those_of_the_one_step_model_but_kept() -> None:
    obs, act = torch.from_numpy(toy_episodes().obs[:4]), torch.from_numpy(toy_episodes().act[:4])
    kept, inline = (
        fitted(model, TINY).imagine(obs, act, policy=lambda o, step: act, horizon=3, rtg=0.0, generator=generator())
        for model in (MOPO, OneStep)
    )
    torch.testing.assert_close(vars(kept), vars(inline))
    assert source_kind(run_config("laptop", "mopo", "iql")) == "on-policy"
    assert source_kind(run_config("laptop", "one_step", "iql")) == "inline"


def test_defaults_penalise_agents_that_have_a_critic() -> None:
    assert run_config("laptop", "mopo", "td3_bc").agent.penalty_weight == 1  # type: ignore[attr-defined]
    assert run_config("laptop", "one_step", "td3_bc").agent.penalty_weight == 0  # type: ignore[attr-defined]
    assert not hasattr(run_config("laptop", "mopo", "bc").agent, "penalty_weight")

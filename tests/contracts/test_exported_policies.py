"""Contract of plug-ins outside dwm_ray.

An exported policy acts like its agent, or the agent is refused with a reason. Segments of every world model become
episodes.

The policies of all agents are traced and written as one graph, because writing a graph takes seconds.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from agent_problems import SPACES, STATS, build, rng, segments
from outside import trained_models
from tiny_models import SPACES as MODEL_SPACES
from tiny_models import build as build_model
from tiny_models import episodes, imagined
from torch import Tensor, nn

from dwm_ray.export.graph import PolicyGraph, onnx_actions, traced, write_onnx
from dwm_ray.export.segments import as_episodes, select_segments
from dwm_ray.filters.keep_all import KeepAll
from dwm_ray.registry import plugins
from dwm_ray.replay.selection import Selection

NETWORKS = [name for name, cls in plugins("agents").items() if not cls.plans]
PLANNERS = [name for name, cls in plugins("agents").items() if cls.plans]


class SideBySide(nn.Module):
    """Actions of several policies in one row."""

    def __init__(self, policies: list[PolicyGraph]) -> None:
        super().__init__()
        self.policies = nn.ModuleList(policies)

    def forward(self, obs: Tensor) -> Tensor:
        return torch.cat([policy(obs) for policy in self.policies], 1)


def trained_policy(name: str) -> PolicyGraph:
    short = {"diffusion_steps": 2} if "diffusion_steps" in plugins("agents")[name].Config.model_fields else {}
    agent = build(name, SPACES, num_hidden=1, matmul_precision="fp32", **short)
    for _ in range(3):
        agent.update(segments(), rng())
    return PolicyGraph(agent)


def test_exported_policies_act_like_their_agents(tmp_path: Path) -> None:
    policies = [trained_policy(name) for name in NETWORKS]
    graph = traced(SideBySide(policies), SPACES.obs_size)
    write_onnx(graph, tmp_path / "policy.onnx")
    for num in (1, 2, 64):
        obs = torch.randn(num, SPACES.obs_size, generator=rng(num)) * 3 + torch.from_numpy(STATS.obs_mean)
        result = {
            "onnxruntime": onnx_actions(tmp_path / "policy.onnx", obs.numpy()),
            "torch": graph.module()(obs).numpy(),
        }
        for name, policy, *columns in zip(
            NETWORKS, policies, *(np.hsplit(actions, len(policies)) for actions in result.values()), strict=True
        ):
            for acts in columns:
                np.testing.assert_allclose(acts, policy.agent.act(obs).numpy(), rtol=0, atol=1e-5, err_msg=name)


@pytest.mark.parametrize("name", PLANNERS)
def test_agents_that_plan_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match=f"agent {name}: samples a plan"):
        PolicyGraph(build(name, SPACES))


@pytest.mark.parametrize("name", trained_models())
def test_segments_are_episodes_whose_rows_follow_each_other(name: str) -> None:
    segments, every = imagined(build_model(name)), Selection(KeepAll(KeepAll.Config()), 3, transitions=False)
    chosen = select_segments(replace(every, horizon=segments.horizon), segments, rng())
    data, _ = as_episodes(chosen, episodes().card, MODEL_SPACES)
    assert data.num_episodes == len(segments)
    assert (data.terminated | data.truncated)[data.offsets[1:] - 1].all()
    inside = ~(data.terminated | data.truncated)[:-1]
    np.testing.assert_array_equal(data.next_obs[:-1][inside], data.obs[1:][inside])
    assert data.num_transitions == len(chosen.transitions())

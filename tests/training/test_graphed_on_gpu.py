"""Updates and sampling as CUDA graphs on a GPU; `test_graphed` uses an emulation instead."""

from typing import Any

import pytest
import torch
from learners import agent_of, assert_close, built, copies, learner_of, run
from test_graphed import PARTS, Reads, every_agent, every_source

from dwm_ray.agents.bc import BCConfig
from dwm_ray.blocks.graphed import CudaGraphSampler
from dwm_ray.cuda_graphs import WARM_UPS
from dwm_ray.experiment.grouping import stackable_agents
from dwm_ray.registry import find
from dwm_ray.types import Segments, Spaces

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no GPU here")
SPACES = Spaces(obs_size=3, act_size=2, act_low=(-1.0, -1.0), act_high=(1.0, 1.0))


@every_agent
@every_source
def test_replayed_updates_of_an_agent_equal_eager_ones(name: str, imagined: bool) -> None:
    eager, replayed = (learner_of([agent_of(name, 0)], imagined, "cuda", cuda_graphs=on) for on in (False, True))
    for part in (*PARTS, 12):
        if part == 12:
            replayed.load_state_dicts(copies(eager.state_dicts()))
        [row], [expected] = run(replayed, part), run(eager, part)
        assert row == pytest.approx(expected, rel=1e-3, abs=1e-4)
        assert_close(eager.state_dicts(), replayed.state_dicts(), rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("name", stackable_agents())
def test_replayed_updates_of_a_population_equal_eager_ones(name: str) -> None:
    eager, replayed = (
        learner_of([agent_of(name, seed) for seed in range(3)], True, "cuda", cuda_graphs=on) for on in (False, True)
    )
    for part in PARTS:
        eager.run(part), replayed.run(part)
        assert_close(eager.state_dicts(), replayed.state_dicts(), rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("denoiser", ["mlp", "unet", "attention"])
def test_sampled_segments_equal_eager_ones(denoiser: str) -> None:
    torch.manual_seed(0)
    options: dict[str, Any] = {"denoiser": denoiser, "dim": 16, "multipliers": [1, 2], "guidance_scale": 1.5}
    cls = find("world_models", "dwm")
    model = cls(cls.Config(**(cls.Config.for_profile("laptop").model_dump() | options)), SPACES)
    model.cuda().requires_grad_(False).eval()
    imaginer = CudaGraphSampler(model, 32)
    first, second = (torch.Generator("cuda").manual_seed(0) for _ in range(2))
    for seed in range(2 * WARM_UPS):
        starts = torch.rand(32, 5, generator=torch.Generator().manual_seed(seed)).cuda()
        sampled: list[Segments] = [
            one.imagine(starts[:, :3], starts[:, 3:], policy=None, horizon=3, rtg=0.5, generator=generator)
            for one, generator in ((model, first), (imaginer, second))
        ]
        for name, value in sampled[0].tensors().items():
            torch.testing.assert_close(getattr(sampled[1], name), value, rtol=1e-3, atol=1e-3, msg=name)
        assert torch.equal(first.get_state(), second.get_state())


def test_an_agent_that_waits_for_the_gpu_is_an_error() -> None:
    learner = learner_of([built(Reads, BCConfig(), 0)], device="cuda", cuda_graphs=True)
    learner.run(WARM_UPS)
    with pytest.raises(
        ValueError, match=r"^execution\.cuda_graphs: the call cannot be captured as a CUDA graph \(.*captur"
    ):
        learner.run(1)

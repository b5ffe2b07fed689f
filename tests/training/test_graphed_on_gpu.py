"""Updates and drawing as CUDA graphs where there is a GPU; elsewhere all of this is skipped, and `test_graphed` has an
emulation in its place."""

from typing import Any

import pytest
import torch
from test_graphed import PARTS, agent_of, built, every_agent, every_source, population_of, trainer_of
from test_graphed_refusals import Reads
from torch import Tensor

from dwm_ray.agents.bc import BCConfig
from dwm_ray.blocks.graphed import CudaGraphSampler
from dwm_ray.cuda_graphs import WARM_UPS
from dwm_ray.experiment.grouping import stackable_agents
from dwm_ray.registry import find
from dwm_ray.types import Segments, Spaces

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no GPU here")
SPACES = Spaces(obs_size=3, act_size=2, act_low=(-1.0, -1.0), act_high=(1.0, 1.0))


def assert_close(first: dict[str, Tensor], second: dict[str, Tensor]) -> None:
    """Generators exactly; numbers up to the rounding of another order of sums."""
    assert first.keys() == second.keys()
    for key, value in first.items():
        if key == "generator":
            assert torch.equal(value, second[key])
        else:
            torch.testing.assert_close(second[key], value, rtol=1e-3, atol=1e-5, msg=key)


@every_agent
@every_source
def test_an_agent_learns_what_it_does_without_graphs(name: str, imagined: bool) -> None:
    plain, replayed = (trainer_of(agent_of(name, 0), on, imagined, "cuda") for on in (False, True))
    for part in PARTS:
        assert replayed.run(part) == pytest.approx(plain.run(part), rel=1e-3, abs=1e-4)
        assert_close(plain.state_dict(), replayed.state_dict())
    state = {key: value.clone() for key, value in plain.state_dict().items()}
    replayed.load_state_dict(state)
    assert replayed.run(12) == pytest.approx(plain.run(12), rel=1e-3, abs=1e-4)
    assert_close(plain.state_dict(), replayed.state_dict())


@pytest.mark.parametrize("name", stackable_agents())
def test_a_population_learns_what_it_does_without_graphs(name: str) -> None:
    plain, replayed = (population_of(name, [{}, {}, {}], True, on, "cuda") for on in (False, True))
    for part in PARTS:
        plain.run(part), replayed.run(part)
        for state, expected in zip(replayed.state_dicts(), plain.state_dicts(), strict=True):
            assert_close(expected, state)


@pytest.mark.parametrize("denoiser", ["mlp", "unet"])
def test_segments_are_those_that_are_drawn_without_graphs(denoiser: str) -> None:
    torch.manual_seed(0)
    options: dict[str, Any] = {"denoiser": denoiser, "dim": 16, "multipliers": [1, 2], "guidance_scale": 1.5}
    cls = find("world_models", "dwm")
    model = cls(cls.Config(**(cls.Config.preset("small").model_dump() | options)), SPACES)
    model.cuda().requires_grad_(False).eval()
    imaginer = CudaGraphSampler(model, 32)
    first, second = (torch.Generator("cuda").manual_seed(0) for _ in range(2))
    for seed in range(2 * WARM_UPS):
        starts = torch.rand(32, 5, generator=torch.Generator().manual_seed(seed)).cuda()
        drawn: list[Segments] = [
            one.imagine(starts[:, :3], starts[:, 3:], policy=None, horizon=3, rtg=0.5, generator=generator)
            for one, generator in ((model, first), (imaginer, second))
        ]
        for name, value in vars(drawn[0]).items():
            torch.testing.assert_close(getattr(drawn[1], name), value, rtol=1e-3, atol=1e-3, msg=name)
        assert torch.equal(first.get_state(), second.get_state())


def test_an_agent_that_waits_for_the_gpu_is_an_error() -> None:
    trainer = trainer_of(built(Reads, BCConfig(), 0), True, device="cuda")
    trainer.run(WARM_UPS)
    with pytest.raises(ValueError, match=r"^execution\.cuda_graphs: this cannot be a CUDA graph \(.*captur"):
        trainer.run(1)

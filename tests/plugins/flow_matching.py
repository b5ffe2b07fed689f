"""Flow-matching world model: DWM's window layout and condition, rectified flow, an MLP.

One file outside the package. It composes the package's parts as DWM (arXiv 2402.03570) does, with another process
(arXiv 2209.03003) and an encoder of continuous levels.
"""

from typing import Annotated, Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from dwm_ray.data.normalizers import CDFNormalizer, MinMaxNormalizer
from dwm_ray.devices import Precision
from dwm_ray.diffusion.conditioning import Condition, ConditionEncoder, LevelEncoder
from dwm_ray.diffusion.denoisers import ResidualMLP, conditioned
from dwm_ray.diffusion.flow import Flow
from dwm_ray.diffusion.process import noise_like
from dwm_ray.options import PositiveInt
from dwm_ray.types import Episodes, Metrics, Segments, Spaces, Windows
from dwm_ray.world_models.base import SegmentRequest, WorldModel, WorldModelConfig, generated, seeded
from dwm_ray.world_models.parts.losses import masked_mean
from dwm_ray.world_models.parts.window_layout import WindowLayout


class FlowMatchingConfig(WorldModelConfig):
    """Options of the flow-matching world model."""

    SAMPLING: ClassVar[frozenset[str]] = frozenset({"solver_steps", "sampling_precision"})

    sequence_length: Annotated[int, Field(ge=2)] = 8
    """T: states per window; segments have up to T - 1 steps."""
    dim: Annotated[int, Field(ge=8, multiple_of=8)] = 128
    """Size of each embedding and unit of the network's width."""
    multipliers: tuple[PositiveInt, ...] = (4, 4, 4)
    """Hidden units per residual block in units of dim."""
    solver_steps: PositiveInt = 8
    """N: network calls per segment."""
    sampling_precision: Precision = "fp32"
    """Arithmetic of matrix products in sampling."""

    @classmethod
    def laptop(cls) -> dict[str, Any]:
        return {"num_updates": 6000, "batch_size": 256, "learning_rate": 1e-3, "final_learning_rate": 0.05}


class FlowMatching(WorldModel):
    """Flow matching of whole segments."""

    Config = FlowMatchingConfig
    label = "Flow"
    follows_policy = False
    supports_cuda_graphs = True
    config: FlowMatchingConfig

    def __init__(self, config: FlowMatchingConfig, spaces: Spaces) -> None:
        super().__init__(config, spaces)
        self.obs_normalizer = CDFNormalizer(spaces.obs_size)
        self.act_normalizer = MinMaxNormalizer(spaces.act_size)
        self.rew_normalizer = MinMaxNormalizer(1)
        self.layout = WindowLayout(config.sequence_length, spaces.obs_size, has_continuation=False)
        with seeded(config.seed):
            encoder = ConditionEncoder(LevelEncoder(config.dim), spaces.act_size)
            self.denoiser = ResidualMLP(*self.layout.shape, encoder, config.dim, config.multipliers)

    @property
    def process(self) -> Flow:
        return Flow(self.config.solver_steps)

    def fit_normalizers(self, episodes: Episodes) -> None:
        self.obs_normalizer.fit(episodes.obs)
        self.act_normalizer.fit(episodes.act)
        self.rew_normalizer.fit(episodes.rew[:, None])

    def loss(self, windows: Windows, generator: torch.Generator) -> tuple[Tensor, Metrics]:
        states = self.obs_normalizer(windows.obs)
        clean = self.layout.join(states, self.rew_normalizer(windows.rew[..., None]), windows.terminated)
        process, given = self.process, self.layout.given(states[:, 0])
        level, noise = process.training_levels(len(clean), generator), noise_like(clean, generator)
        noisy = given.impose(process.add_noise(clean, noise, level))
        network = conditioned(self.denoiser, self._condition(windows.act[:, 0], windows.rtg), "fp32")
        error = process.squared_error(network, noisy, level, clean, noise, given)
        loss = masked_mean(error, self.layout.learned(windows))
        return loss, {"loss": loss.detach()}

    def generate(self, request: SegmentRequest) -> Segments:
        obs, act, horizon = request.obs, request.act, request.horizon
        network = conditioned(self.denoiser, self._condition(act, request.rtg), self.config.sampling_precision)
        given = self.layout.given(self.obs_normalizer(obs))
        window = self.process.sample(network, (len(obs), *self.layout.shape), given, request.generator).clamp(-1, 1)
        later = self.obs_normalizer.inverse(self.layout.obs(window[:, 1 : horizon + 1]))
        rew = self.rew_normalizer.inverse(self.layout.rew(window[:, :horizon])).squeeze(-1)
        return generated(torch.cat([obs[:, None], later], 1), act[:, None], rew, torch.ones_like(rew))

    def _condition(self, act: Tensor, rtg: Tensor) -> Condition:
        return Condition(self.act_normalizer(act), rtg, torch.ones_like(rtg, dtype=torch.bool))

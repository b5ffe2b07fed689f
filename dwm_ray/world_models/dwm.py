"""DWM: Diffusion World Model (arXiv 2402.03570).

p(r_t, s_{t+1}, r_{t+1}, ..., s_{t+T-1}, r_{t+T-1} | s_t, a_t, return-to-go): one diffusion sample is a whole segment.
Layout: a window x [B, T, O + 1] (`window_layout`) in which s_t is given. Process: DDPM. Network: a temporal U-Net
conditioned on a_t and the return-to-go, which is dropped at random in training for classifier-free guidance. States are
normalised by their empirical CDF, rewards and actions by their range.

If several segments are sampled per pair (DWM-PQL), the reward is their mean and the penalty of a step the largest
squared distance between two segments' (reward, next state). The distance is in the units of the network, where each
entry spans [-1, 1], so that no dimension dominates.

Differences: padded entries at an episode's end carry no loss (unspecified in the paper); `continuation` learns
terminations, which the paper does not model; `prediction="sample"` predicts the clean window instead of the noise;
`denoiser="mlp"` and half precision are for small machines.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from dwm_ray.data.normalizers import CDFNormalizer, MinMaxNormalizer
from dwm_ray.devices import product_dtype
from dwm_ray.diffusion.conditioning import Condition, ConditionEncoder, StepEncoder
from dwm_ray.diffusion.ddpm import DDPM, DDPMStride, alpha_bars, strided_jumps
from dwm_ray.diffusion.fast.unet import has_inference_form, inference_form
from dwm_ray.diffusion.guidance import conditioned
from dwm_ray.diffusion.process import Network, per_row
from dwm_ray.options import PositiveInt, RunOptions
from dwm_ray.types import Episodes, Metrics, Segments, Spaces, Windows
from dwm_ray.world_models.base import SegmentRequest, WorldModel, generated, masked_mean, seeded
from dwm_ray.world_models.parts.ensemble import largest_distance
from dwm_ray.world_models.parts.options import WindowModelConfig
from dwm_ray.world_models.parts.window_layout import WindowLayout


class DWMConfig(WindowModelConfig):
    """Options of DWM; the defaults are the paper's (T = 8)."""

    SAMPLING: ClassVar[frozenset[str]] = WindowModelConfig.SAMPLING | {"segments_per_pair"}

    segments_per_pair: PositiveInt = 1
    """m: segments per start pair. States are the first one's, rewards the mean over all, and penalties their
    disagreement (DWM-PQL); 1 has no penalty."""
    condition_on_action: bool = True
    """Condition on the first action. False gives Decision Diffuser's diffusion of states, for agents that plan; value
    expansion would credit an action with effects that it did not cause."""

    @property
    def has_penalty(self) -> bool:
        return self.segments_per_pair > 1

    def check(self, run: RunOptions) -> None:
        super().check(run)
        if not self.condition_on_action and not run.agent.plugin.plans:
            raise ValueError(
                f"world_model.condition_on_action: False is for agents that plan, which {run.agent.plugin_name()} does "
                "not; expected True"
            )


def dwm_options(config: WindowModelConfig) -> DWMConfig:
    """Return DWM's part of the options of a model that is built on DWM."""
    return DWMConfig.model_validate(config.model_dump(include=set(WindowModelConfig.model_fields)))


class DWM(WorldModel):
    """Diffusion world model; see the module."""

    Config = DWMConfig
    label = "DWM"
    follows_policy = False
    supports_cuda_graphs = True
    config: DWMConfig
    signal: Tensor  # [K + 1] alpha_bar

    def __init__(self, config: DWMConfig, spaces: Spaces) -> None:
        super().__init__(config, spaces)
        self.obs_normalizer = CDFNormalizer(spaces.obs_size)
        self.act_normalizer = MinMaxNormalizer(spaces.act_size)
        self.rew_normalizer = MinMaxNormalizer(1)
        self.layout = WindowLayout(config.sequence_length, spaces.obs_size, config.continuation == "on")
        with seeded(config.seed):
            encoder = ConditionEncoder(StepEncoder(config.dim, config.diffusion_steps), spaces.act_size)
            self.denoiser = config.build_denoiser(self.layout.shape[1], encoder)
        self.register_buffer("signal", alpha_bars(config.schedule, config.diffusion_steps), persistent=False)

    @property
    def process(self) -> DDPM:
        """DDPM with the configured solver."""
        config = self.config
        jumps = strided_jumps(config.schedule, config.diffusion_steps, config.solver_steps)
        return DDPM(self.signal, DDPMStride(jumps, config.temperature), config.prediction)

    @property
    def state_normalizer(self) -> CDFNormalizer:
        return self.obs_normalizer

    def fit_normalizers(self, episodes: Episodes) -> None:
        self.obs_normalizer.fit(episodes.obs)
        self.act_normalizer.fit(episodes.act)
        self.rew_normalizer.fit(episodes.rew[:, None])

    def loss(self, windows: Windows, generator: torch.Generator) -> tuple[Tensor, Metrics]:
        states = self.obs_normalizer(windows.obs) if windows.scaled is None else windows.scaled
        clean = self.layout.join(states, self.rew_normalizer(windows.rew[..., None]), windows.terminated)
        level, has_rtg, noise = self._noise(clean, generator)
        process, given = self.process, self.layout.given(states[:, 0])
        noisy = given.impose(process.add_noise(clean, noise, level))
        condition = self._condition(windows.act[:, 0], windows.rtg, has_rtg)
        network = conditioned(self.denoiser, condition, self.config.training_precision)
        error = process.squared_error(network, noisy, level, clean, noise, given)
        error = per_row(process.weight(level), error) * error
        mask = self.layout.learned(windows)
        loss = masked_mean(error, mask)
        rew_loss = masked_mean(self.layout.rew(error), self.layout.rew(mask))
        return loss, {"loss": loss.detach(), "rew_loss": rew_loss.detach()}

    def _condition(self, act: Tensor, rtg: Tensor, has_rtg: Tensor) -> Condition:
        unit = self.act_normalizer(act)
        return Condition(unit if self.config.condition_on_action else torch.zeros_like(unit), rtg, has_rtg)

    def _noise(self, clean: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Sample the level and the condition dropout of each row, and the noise of each entry."""
        level = self.process.training_levels(len(clean), generator)
        has_rtg = torch.rand(len(clean), generator=generator, device=clean.device) >= self.config.condition_dropout
        return level, has_rtg, torch.randn(clean.shape, generator=generator, device=clean.device)

    def generate(self, request: SegmentRequest) -> Segments:
        obs, act, horizon = request.obs, request.act, request.horizon
        windows = self._sample(obs, act, request.rtg, request.generator)
        later = self.obs_normalizer.inverse(self.layout.obs(windows[:, 0, 1 : horizon + 1]))
        return generated(
            obs=torch.cat([obs[:, None], later], 1),
            act=act[:, None],
            rew=self.rew_normalizer.inverse(self.layout.rew(windows[:, :, :horizon])).squeeze(-1).mean(1),
            discount=self.layout.discount(windows[:, 0, :horizon]),
            penalty=self._disagreement(windows)[:, :horizon],
        )

    def _disagreement(self, windows: Tensor) -> Tensor:
        """Return the largest squared distance [B, T - 1] between two segments' reward and next state."""
        steps = torch.cat([self.layout.rew(windows[:, :, :-1]), self.layout.obs(windows[:, :, 1:])], -1)
        batch, many, horizon, size = steps.shape
        members = steps.permute(1, 0, 2, 3).reshape(many, batch * horizon, size)
        return largest_distance(members).view(batch, horizon)

    def _sample(self, obs: Tensor, act: Tensor, rtg: Tensor, generator: torch.Generator) -> Tensor:
        """Sample normalised windows [B, m, T, D]."""
        num_pairs, num_segments = len(obs), self.config.segments_per_pair
        obs, act, rtg = (part.repeat_interleave(num_segments, 0) for part in (obs, act, rtg))
        network = self._sampling_network(self._condition(act, rtg, torch.ones_like(rtg, dtype=torch.bool)))
        given = self.layout.given(self.obs_normalizer(obs))
        windows = self.process.sample(network, (len(obs), *self.layout.shape), given, generator)
        return windows.unflatten(0, (num_pairs, num_segments))

    def _sampling_network(self, condition: Condition) -> Network:
        """Return the guided network, in its inference form if there is one for this device."""
        config, net, device = self.config, self.denoiser, condition.rtg.device
        if not has_inference_form(net, config.sequence_length, device):
            return conditioned(net, condition, config.sampling_precision, config.guidance_scale)
        form = inference_form(net, config.sequence_length, product_dtype(config.sampling_precision, device.type))
        shifts = form.shifts(condition, guided=config.guidance_scale != 1)
        return lambda x, step: form.guided(x, step, shifts, config.guidance_scale)

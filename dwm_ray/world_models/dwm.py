"""DWM: Diffusion World Model (arXiv 2402.03570).

p(r_t, s_{t+1}, r_{t+1}, ..., s_{t+T-1}, r_{t+T-1} | s_t, a_t, return-to-go): one diffusion sample is a whole segment.
The window (`window_layout`) is x [B, T, O + 1]; s_t is written in clean, a_t and the return-to-go enter as an
embedding, and the return-to-go is dropped at random in training for classifier-free guidance. States go through their
empirical CDF, rewards and actions through their range.

Of several segments drawn for one pair, DWM-PQL takes the mean of the rewards and, as the penalty of a step, the largest
squared distance between two segments' (reward, next state). Here the distance is in the units that the network works
in, where each entry spans [-1, 1], so that no dimension dominates: a reward as far from another as the data go adds 4.

Differences: padded entries at an episode's end carry no loss (the paper does not say); `continuation` learns where the
task ends, which the paper does not model; `prediction="sample"` predicts the clean window in place of the noise;
`denoiser="mlp"` and half precision are for small machines.
"""

from __future__ import annotations

from functools import lru_cache
from typing import ClassVar

import torch
from torch import Tensor

from dwm_ray.data.normalizers import CDFNormalizer, MinMaxNormalizer
from dwm_ray.devices import product_dtype, reduced
from dwm_ray.diffusion.conditioning import Condition, ConditionEncoder
from dwm_ray.diffusion.denoisers import Denoiser, ResidualMLP, TemporalUNet
from dwm_ray.diffusion.fast.unet import can_freeze, frozen
from dwm_ray.diffusion.guidance import guided
from dwm_ray.diffusion.schedules import Schedule, alpha_bars
from dwm_ray.diffusion.solvers import DDPMStride, Estimate, Jump, posterior_jumps, stride_steps
from dwm_ray.options import PositiveInt, RunOptions
from dwm_ray.types import Episodes, Metrics, Policy, Segments, Spaces, Windows
from dwm_ray.world_models.base import WorldModel
from dwm_ray.world_models.parts.ensemble import largest_distance
from dwm_ray.world_models.parts.window_layout import WindowLayout
from dwm_ray.world_models.parts.window_options import WindowModelConfig


class DWMConfig(WindowModelConfig):
    """Options of DWM; the defaults are the paper's (T = 8)."""

    SAMPLING: ClassVar[frozenset[str]] = WindowModelConfig.SAMPLING | {"segments_per_pair"}

    segments_per_pair: PositiveInt = 1
    """m: segments drawn for each start pair. States are the first one's, rewards the mean over all, and penalties
    their disagreement (DWM-PQL); 1 has no penalty."""
    condition_on_action: bool = True
    """Tell the model the first action. False gives Decision Diffuser's diffusion of states, for agents that plan:
    value expansion would credit an action with what it did not cause."""

    @property
    def disagrees(self) -> bool:
        return self.segments_per_pair > 1

    def check(self, run: RunOptions) -> None:
        super().check(run)
        if not self.condition_on_action and not run.agent.plugin.plans:
            raise ValueError(
                "world_model.condition_on_action False: only for agents that plan; a critic would credit actions with "
                "what they did not cause"
            )


def dwm_options(config: WindowModelConfig) -> DWMConfig:
    """DWM's part of the options of a model that is built on its generator."""
    return DWMConfig.model_validate(config.model_dump(include=set(WindowModelConfig.model_fields)))


class DWM(WorldModel):
    """See the module."""

    Config = DWMConfig
    follows_policy = False
    capturable = True
    config: DWMConfig
    signal: Tensor  # [K + 1] alpha_bar

    def __init__(self, config: DWMConfig, spaces: Spaces) -> None:
        super().__init__(config, spaces)
        self.obs_normalizer = CDFNormalizer(spaces.obs_size)
        self.act_normalizer = MinMaxNormalizer(spaces.act_size)
        self.rew_normalizer = MinMaxNormalizer(1)
        self.layout = WindowLayout(spaces.obs_size, config.continuation == "on")
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            self.denoiser: Denoiser = _denoiser(config, spaces, self.layout.size)
        self.register_buffer("signal", alpha_bars(config.schedule, config.diffusion_steps), persistent=False)

    @property
    def sequence_length(self) -> int:
        return self.config.sequence_length

    @property
    def state_normalizer(self) -> CDFNormalizer:
        return self.obs_normalizer

    @property
    def max_horizon(self) -> int:
        return self.config.sequence_length - 1

    def fit_normalizers(self, episodes: Episodes) -> None:
        self.obs_normalizer.fit(episodes.obs)
        self.act_normalizer.fit(episodes.act)
        self.rew_normalizer.fit(episodes.rew[:, None])

    def loss(self, windows: Windows, generator: torch.Generator) -> tuple[Tensor, Metrics]:
        states = self.obs_normalizer(windows.obs) if windows.scaled is None else windows.scaled
        clean = self.layout.join(states, self.rew_normalizer(windows.rew[..., None]), windows.terminated)
        step, has_rtg, noise = self._draw(clean, generator)
        signal = self.signal[step][:, None, None]
        noisy = signal.sqrt() * clean + (1 - signal).sqrt() * noise
        self.layout.impose(noisy, self.layout.obs(clean)[:, 0])
        condition = self._condition(windows.act[:, 0], windows.rtg, has_rtg)
        with reduced(self.config.training_precision, clean.device):
            predicted = self.denoiser(noisy, step, condition).float()
        error = (predicted - (noise if self.config.prediction == "noise" else clean)).square()
        mask = self.layout.learned(windows)
        loss = (error * mask).sum() / mask.sum()
        rew_mask = self.layout.rew(mask)
        rew_loss = (self.layout.rew(error) * rew_mask).sum() / rew_mask.sum()
        return loss, {"loss": loss.detach(), "rew_loss": rew_loss.detach()}

    def _condition(self, act: Tensor, rtg: Tensor, has_rtg: Tensor) -> Condition:
        known = self.act_normalizer(act)
        return Condition(known if self.config.condition_on_action else torch.zeros_like(known), rtg, has_rtg)

    def _draw(self, clean: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        batch, device = len(clean), clean.device
        step = torch.randint(1, self.config.diffusion_steps + 1, (batch,), generator=generator, device=device)
        has_rtg = torch.rand(batch, generator=generator, device=device) >= self.config.condition_dropout
        return step, has_rtg, torch.randn(clean.shape, generator=generator, device=device)

    @torch.no_grad()
    def imagine(
        self,
        obs: Tensor,
        act: Tensor,
        *,
        policy: Policy | None,
        horizon: int,
        rtg: float | Tensor,
        generator: torch.Generator,
    ) -> Segments:
        """See the interface. The policy is ignored: segments show what the data's behaviour would do."""
        self.check_horizon(horizon)
        rtg = torch.as_tensor(rtg, device=obs.device).expand(len(obs)).to(obs.dtype)
        windows = self._sample(obs, act, rtg, generator)
        imagined = self.obs_normalizer.inverse(self.layout.obs(windows[:, 0, 1 : horizon + 1]))
        rew = self.rew_normalizer.inverse(self.layout.rew(windows[:, :, :horizon])).squeeze(-1).mean(1)
        return Segments(
            obs=torch.cat([obs[:, None], imagined], 1),
            act=act[:, None],
            rew=rew,
            discount=self.layout.discount(windows[:, 0, :horizon]),
            penalty=self._disagreement(windows)[:, :horizon],
            source=rew.new_ones(len(rew)),
        )

    def _disagreement(self, windows: Tensor) -> Tensor:
        """[B, T - 1] largest squared distance between two segments of a pair, reward and next state together."""
        steps = torch.cat([self.layout.rew(windows[:, :, :-1]), self.layout.obs(windows[:, :, 1:])], -1)
        batch, many, horizon, size = steps.shape
        members = steps.permute(1, 0, 2, 3).reshape(many, batch * horizon, size)
        return largest_distance(members).view(batch, horizon)

    def _sample(self, obs: Tensor, act: Tensor, rtg: Tensor, generator: torch.Generator) -> Tensor:
        """Normalised windows [B, m, T, D] of each start pair."""
        config, num_pairs = self.config, len(obs)
        obs, act, rtg = (part.repeat_interleave(config.segments_per_pair, 0) for part in (obs, act, rtg))
        known = self.obs_normalizer(obs)
        predict = self._predictor(self._condition(act, rtg, torch.ones_like(rtg, dtype=torch.bool)))

        def estimate(x: Tensor, step: int) -> Tensor:
            predicted = predict(x, step)
            if config.prediction == "sample":
                return predicted
            signal = self.signal[step]
            return (x - (1 - signal).sqrt() * predicted) / signal.sqrt()

        jumps = _jumps(config.schedule, config.diffusion_steps, config.solver_steps)
        shape = (len(obs), config.sequence_length, self.layout.size)
        solver = DDPMStride(jumps, config.temperature)
        windows = solver.sample(estimate, lambda x: self.layout.impose(x, known), shape, generator)
        return windows.unflatten(0, (num_pairs, config.segments_per_pair))

    def _predictor(self, condition: Condition) -> Estimate:
        """The network's guided prediction for these start pairs; frozen where that form exists."""
        config, net = self.config, self.denoiser
        if can_freeze(net, config.sequence_length):
            dtype = product_dtype(config.sampling_precision, condition.rtg.device.type)
            fast = frozen(net, config.sequence_length, dtype)
            given = fast.given(condition, guided=config.guidance_scale != 1)
            return lambda x, step: fast.guided(x, step, given, config.guidance_scale)

        def predict(x: Tensor, step: int) -> Tensor:
            steps = torch.full((len(x),), step, device=x.device)
            with reduced(config.sampling_precision, x.device):
                return guided(net, x, steps, condition, config.guidance_scale).float()

        return predict


@lru_cache
def _jumps(schedule: Schedule, diffusion_steps: int, solver_steps: int) -> list[Jump]:
    """The solver's steps, as numbers of Python's: no wait for a GPU."""
    return posterior_jumps(alpha_bars(schedule, diffusion_steps), stride_steps(diffusion_steps, solver_steps))


def _denoiser(config: DWMConfig, spaces: Spaces, size: int) -> TemporalUNet | ResidualMLP:
    encoder = ConditionEncoder(spaces.act_size, config.dim, config.diffusion_steps)
    about = (size, encoder, config.dim, config.multipliers)
    return TemporalUNet(*about) if config.denoiser == "unet" else ResidualMLP(config.sequence_length, *about)

"""DWM: Diffusion World Model (arXiv 2402.03570).

p(r_t, s_{t+1}, r_{t+1}, ..., s_{t+T-1}, r_{t+T-1} | s_t, a_t, return-to-go): one diffusion sample is a whole segment.
Layout: a window x [B, T, O + 1] (`window_layout`) in which s_t is given, in the units of `window_units`. Process: DDPM,
EDM or flow matching. Network: a temporal U-Net or an MLP, conditioned on a_t and the return-to-go, which is dropped at
random in training for classifier-free guidance.

The defaults are the paper's: states by their empirical CDF, DDPM that predicts noise, a U-Net. Those of the profile
`laptop` are ours: changes since s_t, EDM, an MLP, the errors of all entries weighted alike on a logarithmic scale, and
windows whose first step is given, so that segments continue from the recorded s_{t+1} (`first_step`).

If several segments are sampled per pair (DWM-PQL), the reward is their mean and the penalty of a step the largest
squared distance between two segments' (reward, next state), in units in which no dimension dominates.

Differences: padded entries at an episode's end do not enter the loss (unspecified in the paper); `continuation` learns
terminations, which the paper does not model.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, ClassVar, Self

import torch
import torch.nn.functional as F
from torch import Tensor

from dwm_ray.data.normalizers import MinMaxNormalizer
from dwm_ray.diffusion.conditioning import (
    ConcatEncoder,
    Condition,
    ConditionEncoder,
    Encoder,
    LevelEncoder,
    StepEncoder,
)
from dwm_ray.diffusion.ddpm import alpha_bars
from dwm_ray.diffusion.denoisers import conditioned
from dwm_ray.diffusion.process import GivenEntries, Process, per_row
from dwm_ray.options import PositiveInt, Profile, RunOptions
from dwm_ray.types import Episodes, Metrics, Segments, Spaces, Windows
from dwm_ray.world_models.base import SegmentRequest, WorldModel, generated, seeded
from dwm_ray.world_models.parts.ensemble import largest_distance
from dwm_ray.world_models.parts.first_step import FirstStep
from dwm_ray.world_models.parts.losses import log_mean, masked_mean
from dwm_ray.world_models.parts.options import WindowModelConfig
from dwm_ray.world_models.parts.process import process_of
from dwm_ray.world_models.parts.return_bias import ReturnBias
from dwm_ray.world_models.parts.window_layout import WindowLayout
from dwm_ray.world_models.parts.window_units import window_units


class DWMConfig(WindowModelConfig):
    """Options of DWM; the defaults are those of the paper (T = 8)."""

    SAMPLING: ClassVar[frozenset[str]] = WindowModelConfig.SAMPLING | {"segments_per_pair"}

    segments_per_pair: PositiveInt = 1
    """m: segments per start pair. States are those of the first segment, rewards the mean over all, and penalties their
    disagreement (DWM-PQL). With 1, there is no penalty."""
    condition_on_action: bool = True
    """Condition on the first action. False gives Decision Diffuser's diffusion of states, for agents that plan; value
    expansion would credit an action with effects that it did not cause."""
    correct_returns: bool = False
    """Subtract the bias of imagined returns from the rewards of segments that continue from a recorded first step. The
    bias per start pair is learned from recorded futures, after the model and for its sampler (docs/results.md)."""

    @classmethod
    def of(cls, config: WindowModelConfig) -> Self:
        """Return DWM's part of the options of a model that is built on DWM."""
        return cls.model_validate(config.model_dump(include=set(WindowModelConfig.model_fields)))

    @classmethod
    def laptop(cls) -> dict[str, Any]:
        return {**super().laptop(), "correct_returns": True}

    @property
    def can_have_bias(self) -> bool:
        """Whether returns can have a bias; plans have no returns, and segments of one step no imagined states."""
        return self.condition_on_action and self.sequence_length > 2

    @property
    def unused(self) -> frozenset[str]:
        is_read = self.first_step == "recorded" and self.can_have_bias
        return super().unused | (set() if is_read else {"correct_returns"})

    def training_options(self) -> dict[str, object]:
        # A bias of returns is that of one sampler.
        sampler = {"guidance_scale", "solver_steps", "temperature", "first_order"}
        is_corrected = self.correct_returns and self.can_have_bias
        return super().training_options() | self.model_dump(mode="json", include=sampler if is_corrected else set())

    @property
    def has_penalty(self) -> bool:
        return self.segments_per_pair > 1

    @classmethod
    def run_options(cls, profile: Profile) -> dict[str, Any]:
        """Return half recorded futures of 10 steps for the profile `laptop`; imagined futures alone are unreliable."""
        options = {"synthesis.horizon": 10, "replay.real_ratio": 0.5, "replay.real_steps": "horizon"}
        return options if profile == "laptop" else {}

    def check(self, run: RunOptions) -> None:
        super().check(run)
        if not self.condition_on_action and self.first_model == "regression":
            raise ValueError(
                "world_model.first_model: regression predicts the first step from the action, and "
                "world_model.condition_on_action is False; expected diffusion"
            )
        if not self.condition_on_action and not run.agent.plugin.plans:
            raise ValueError(
                f"world_model.condition_on_action: False needs an agent that plans, and {run.agent.plugin_name()} does "
                "not; expected True"
            )


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
        self.units = window_units(config.states, spaces, config.sequence_length)
        self.act_normalizer = MinMaxNormalizer(spaces.act_size)
        self.layout = WindowLayout(config.sequence_length, spaces.obs_size, config.continuation == "on")
        with seeded(config.seed):
            self.denoiser = config.build_denoiser(self.layout.shape[1], self._encoder())
            self.first = FirstStep(spaces, 2 * config.dim) if config.first_model == "regression" else None
            if config.correct_returns and config.can_have_bias:
                self.return_bias = ReturnBias(spaces, self.max_horizon)
        self.register_buffer("signal", alpha_bars(config.schedule, config.diffusion_steps), persistent=False)

    def _encoder(self) -> Encoder:
        config, act_size = self.config, self.spaces.act_size
        if not config.knows_given_entries:
            return ConditionEncoder(self._level_encoder(config.dim), act_size)
        kind = ConcatEncoder if config.denoiser == "mlp" else ConditionEncoder
        size = config.dim // 4 if config.denoiser == "mlp" else config.dim  # the MLP takes the vector itself
        return kind(self._level_encoder(size), act_size + self.layout.num_first_entries + 1)

    def _level_encoder(self, size: int) -> StepEncoder | LevelEncoder:
        return StepEncoder(size, self.config.diffusion_steps) if self.config.process == "ddpm" else LevelEncoder(size)

    @property
    def process(self) -> Process:
        """The configured process with its solver."""
        return process_of(self.config, self.units, self.signal)

    @property
    def state_normalizer(self) -> Callable[[Tensor], Tensor] | None:
        return self.units.state_normalizer

    def fit_normalizers(self, episodes: Episodes) -> None:
        self.units.fit(episodes)
        self.act_normalizer.fit(episodes.act)
        if self.first is not None:
            self.first.fit(episodes)

    def loss(self, windows: Windows, generator: torch.Generator) -> tuple[Tensor, Metrics]:
        clean = self.layout.join(*self.units.encode(windows.obs, windows.rew, windows.scaled), windows.terminated)
        level, has_rtg, noise = self._noise(clean, generator)
        given = self.layout.continued(clean, self._has_first(windows, generator))
        process = self.process
        noisy = given.impose(process.add_noise(clean, noise, level))
        condition = self._condition(windows.act[:, 0], windows.rtg, has_rtg, given)
        network = conditioned(self.denoiser, condition, self.config.training_precision)
        error = process.squared_error(network, noisy, level, clean, noise, given)
        error = per_row(process.weight(level), error) * error
        mask = self.layout.learned(windows) & ~given.mask
        loss = log_mean(error, mask) if self.config.entry_weights == "log" else masked_mean(error, mask)
        metrics = {"rew_loss": masked_mean(self.layout.rew(error), self.layout.rew(mask)).detach()}
        if self.first is not None:
            first_loss = self.first.loss(windows)
            loss, metrics["first_loss"] = loss + first_loss, first_loss.detach()
        return loss, {"loss": loss.detach(), **metrics}

    def finish(self, holdout: Windows) -> None:
        if self.first is not None:
            self.first.calibrate(holdout)

    def _has_first(self, windows: Windows, generator: torch.Generator) -> Tensor:
        """Choose the windows [B] whose first step is given, among those in which it is recorded."""
        if self.config.given_first == 0:
            return torch.zeros_like(windows.obs_mask[:, 0])
        chance = torch.rand(len(windows), generator=generator, device=windows.rtg.device)
        return (chance < self.config.given_first) & windows.obs_mask[:, 1]

    def _condition(self, act: Tensor, rtg: Tensor, has_rtg: Tensor, given: GivenEntries) -> Condition:
        vector = self.act_normalizer(act)
        if not self.config.condition_on_action:
            vector = torch.zeros_like(vector)
        if self.config.knows_given_entries:
            has_first = given.mask[:, 1, :1].expand(len(act), 1).to(vector.dtype)
            vector = torch.cat([vector, self.layout.first_entries(given), has_first], 1)
        return Condition(vector, rtg, has_rtg)

    def _noise(self, clean: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Sample the level and the condition dropout of each row, and the noise of each entry."""
        level = self.process.training_levels(len(clean), generator)
        has_rtg = torch.rand(len(clean), generator=generator, device=clean.device) >= self.config.condition_dropout
        return level, has_rtg, torch.randn(clean.shape, generator=generator, device=clean.device)

    def generate(self, request: SegmentRequest) -> Segments:
        bias = self._bias(request)
        if request.first is None and self.first is not None:
            first = self.first.imagine(request.obs, request.act, self.config.temperature, request.generator)
            request = replace(request, first=first)
        windows = self._sample(request)
        obs, rew = self.units.decode(self.layout.obs(windows), self.layout.rew(windows), request.obs)
        horizon = request.horizon
        recorded = request.obs[:, None] if request.first is None else request.first.obs  # exact, without the units
        return generated(
            obs=torch.cat([recorded, obs[:, 0, recorded.shape[1] : horizon + 1]], 1),
            act=request.act[:, None],
            rew=rew[:, :, :horizon].mean(1) - bias,
            discount=self.layout.discount(windows[:, 0, :horizon]),
            penalty=self._disagreement(windows)[:, :horizon],
        )

    def _bias(self, request: SegmentRequest) -> Tensor:
        """Return the bias [B, H] to subtract from the rewards; 0 in the first step, and if that is not recorded."""
        if self.return_bias is None or request.first is None:
            return request.obs.new_zeros(len(request.obs), request.horizon)
        return F.pad(self.return_bias(request.first, request.rtg)[:, : request.horizon - 1], (1, 0))

    def _disagreement(self, windows: Tensor) -> Tensor:
        """Return the largest squared distance [B, T - 1] between two segments' reward and next state."""
        steps = torch.cat([self.layout.rew(windows[:, :, :-1]), self.layout.obs(windows[:, :, 1:])], -1)
        batch, num_segments, horizon, size = steps.shape
        members = steps.permute(1, 0, 2, 3).reshape(num_segments, batch * horizon, size)
        return largest_distance(members).view(batch, horizon)

    def _sample(self, request: SegmentRequest) -> Tensor:
        """Sample normalised windows [B, m, T, D]."""
        num_segments = self.config.segments_per_pair
        act, rtg = (tensor.repeat_interleave(num_segments, 0) for tensor in (request.act, request.rtg))
        given = self._given(request)
        given = GivenEntries(*(tensor.repeat_interleave(num_segments, 0) for tensor in (given.mask, given.values)))
        has_rtg = torch.ones_like(rtg, dtype=torch.bool)
        condition, config = self._condition(act, rtg, has_rtg, given), self.config
        network = conditioned(self.denoiser, condition, config.sampling_precision, config.guidance_scale)
        windows = self.process.sample(network, (len(act), *self.layout.shape), given, request.generator)
        return windows.unflatten(0, (len(request.obs), num_segments))

    def _given(self, request: SegmentRequest) -> GivenEntries:
        """Return s_t and, if it is known, the first step as the given entries of windows [B, T, D]."""
        obs, rew = request.obs[:, None], request.obs.new_zeros(len(request.obs), 1)
        if request.first is not None:
            obs, rew = request.first.obs, F.pad(request.first.rew, (0, 1))
        entries = self.layout.join(*self.units.encode(obs, rew), torch.zeros_like(rew, dtype=torch.bool))
        window = F.pad(entries, (0, 0, 0, self.layout.length - entries.shape[1]))
        has_first = torch.full((len(obs),), request.first is not None, device=obs.device)
        return self.layout.continued(window, has_first)

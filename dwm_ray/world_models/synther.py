"""SynthER (arXiv 2303.06614): augmentation by an unconditional diffusion over single transitions.

DWM (arXiv 2402.03570) uses it as the data augmentation baseline (DA-TD3BC). Layout: a row (s, a, r, s' - s,
terminated), without conditions; start pairs only determine the number of rows. Process: EDM. Network: a residual MLP.
As in SynthER's code, continuous entries are standardised and `terminated` is 0 or 1, rounded after sampling.

Differences: the state change replaces s', because it must be consistent with s and a; actions are clamped to the
task's bounds; blocks are those of `denoisers.ResidualMLP`; without churn, DPM-Solver++ takes few steps.
"""

from typing import Annotated, Any, ClassVar

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from dwm_ray.data.normalizers import ZScore
from dwm_ray.diffusion.conditioning import LevelEncoder
from dwm_ray.diffusion.denoisers import Denoiser, ResidualMLP, conditioned
from dwm_ray.diffusion.edm import EDM, Churn, Heun, Multistep, Preconditioning, karras_levels
from dwm_ray.diffusion.process import noise_like
from dwm_ray.options import PositiveInt, Profile
from dwm_ray.types import Episodes, Metrics, Segments, Spaces, Windows
from dwm_ray.world_models.base import SegmentRequest, WorldModel, generated, seeded
from dwm_ray.world_models.parts.losses import masked_mean
from dwm_ray.world_models.parts.options import PrecisionConfig

CHURN = Churn(amount=80.0, low=0.05, high=50.0, inflation=1.003)  # SynthER's


class SynthERConfig(PrecisionConfig):
    """Options of SynthER; the defaults are those of its offline experiments at width 1024."""

    SAMPLING: ClassVar[frozenset[str]] = frozenset({"solver_steps", "churn", "sampling_precision"})
    sequence_length: ClassVar[int] = 2

    num_updates: PositiveInt = 100_000
    batch_size: PositiveInt = 1024
    learning_rate: Annotated[float, Field(gt=0)] = 3e-4
    final_learning_rate: Annotated[float, Field(gt=0, le=1)] = 0.01
    dim: Annotated[int, Field(ge=8, multiple_of=8)] = 128
    """Size of the noise level's embedding and unit of width."""
    multipliers: Annotated[tuple[PositiveInt, ...], Field(min_length=1)] = (8, 8, 8, 8, 8, 8)
    """Hidden units per residual block in units of dim; the first is also the trunk's width."""
    solver_steps: PositiveInt = 128
    """N: steps of the solver per transition."""
    churn: bool = True
    """Heun's solver with fresh noise in every step, 2 N - 1 network calls (paper); otherwise DPM-Solver++, N calls."""

    @classmethod
    def laptop(cls) -> dict[str, Any]:
        """Return options with 24 network calls, chosen on 50 000 halfcheetah transitions after 115 s on one core.

        Squared error of generated next states by the simulator, in variances of the data (no change: 1.4): .08 in these
        24 calls, .12 in 16; with churn .06 in 63 and .03 in 127; DWM's DDPM on the same network .52 in 32.
        """
        return {
            "num_updates": 5000,
            "batch_size": 256,
            "learning_rate": 1e-3,
            "multipliers": (4, 4, 4),
            "training_precision": "auto",
            "solver_steps": 24,
            "churn": False,
            "sampling_precision": "auto",
        }

    @classmethod
    def run_options(cls, profile: Profile) -> dict[str, Any]:
        """Return single transitions and a real ratio of one half."""
        return {"synthesis.horizon": 1, "replay.real_ratio": 0.5}


class SynthER(WorldModel):
    """Unconditional diffusion of transitions; see the module."""

    Config = SynthERConfig
    label = "SynthER"
    follows_policy = False
    supports_cuda_graphs = True
    makes_transitions = True
    starts_from_data = False
    uses_rtg = False
    config: SynthERConfig
    act_low: Tensor  # [A]
    act_high: Tensor  # [A]

    def __init__(self, config: SynthERConfig, spaces: Spaces) -> None:
        super().__init__(config, spaces)
        self.widths = (spaces.obs_size, spaces.act_size, 1, spaces.obs_size)
        self.normalizer = ZScore(sum(self.widths), eps=1e-6)  # a change may be far smaller than 1e-3
        self.register_buffer("act_low", torch.tensor(spaces.act_low), persistent=False)
        self.register_buffer("act_high", torch.tensor(spaces.act_high), persistent=False)
        with seeded(config.seed):
            self.denoiser: Denoiser = ResidualMLP(
                1, self.row_size, LevelEncoder(config.dim), config.dim, config.multipliers
            )

    @property
    def row_size(self) -> int:
        """D: continuous entries and `terminated`."""
        return sum(self.widths) + 1

    @property
    def process(self) -> EDM:
        """EDM with the configured solver."""
        levels = karras_levels(self.config.solver_steps)
        solver = Heun(levels, CHURN) if self.config.churn else Multistep(levels)
        return EDM(Preconditioning(sigma_data=1.0), solver)

    def fit_normalizers(self, episodes: Episodes) -> None:
        change = episodes.next_obs - episodes.obs
        rows = np.concatenate([episodes.obs, episodes.act, episodes.rew[:, None], change], 1)
        self.normalizer.fit(rows[episodes.known_next])

    def loss(self, windows: Windows, generator: torch.Generator) -> tuple[Tensor, Metrics]:
        """Return EDM's weighted squared error, mean over the entries of rows whose next state is recorded."""
        process, clean = self.process, self._rows(windows)
        level = process.training_levels(len(clean), generator)
        noise = noise_like(clean, generator)
        network = conditioned(self.denoiser, None, self.config.training_precision)
        error = process.squared_error(network, process.add_noise(clean, noise, level), level, clean, noise, None)
        loss = masked_mean(process.weight(level) * error.mean((1, 2)), windows.transition_mask[:, 0])
        return loss, {"loss": loss.detach()}

    def _rows(self, windows: Windows) -> Tensor:
        """Return normalised rows [B, 1, D] of the windows' first transitions: windows of length 1."""
        change = windows.obs[:, 1] - windows.obs[:, 0]
        rows = torch.cat([windows.obs[:, 0], windows.act[:, 0], windows.rew[:, :1], change], 1)
        return torch.cat([self.normalizer(rows), windows.terminated[:, :1].to(rows.dtype)], 1)[:, None]

    def generate(self, request: SegmentRequest) -> Segments:
        network = conditioned(self.denoiser, None, self.config.sampling_precision)
        rows = self.process.sample(network, (len(request.obs), 1, self.row_size), None, request.generator).squeeze(1)
        start, action, rew, change = self.normalizer.inverse(rows[:, :-1]).split(self.widths, 1)
        return generated(
            obs=torch.stack([start, start + change], 1),
            act=action.clamp(self.act_low, self.act_high)[:, None],
            rew=rew,
            discount=(rows[:, -1:] < 0.5).to(rew.dtype),
        )

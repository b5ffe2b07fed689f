"""SynthER (arXiv 2303.06614): more data of the same kind, from an unconditional diffusion over single transitions.

DWM (arXiv 2402.03570) compares with it as data augmentation (DA-TD3BC). A row is (s, a, r, s' - s, terminated), made
from nothing by EDM: start pairs only say how many are asked for. As in SynthER's code continuous entries are
standardised, `terminated` is 0 or 1 and counts from one half on, and the network is a residual MLP.

Differences: the change of state stands for s', because it is what has to fit s and a closely; actions are clamped to
the task's bounds; blocks are those of `denoisers.ResidualMLP`; without churn, DPM-Solver++ takes few steps.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from dwm_ray.data.normalizers import ZScore
from dwm_ray.devices import Precision, reduced
from dwm_ray.diffusion.conditioning import LevelEncoder
from dwm_ray.diffusion.denoisers import ResidualMLP
from dwm_ray.diffusion.edm import Churn, Heun, Multistep, Preconditioning, karras_levels, training_levels
from dwm_ray.options import PositiveInt
from dwm_ray.types import Episodes, Metrics, Policy, Segments, Spaces, Windows
from dwm_ray.world_models.base import WorldModel, WorldModelConfig

CHURN = Churn(amount=80.0, low=0.05, high=50.0, inflation=1.003)  # SynthER's


class SynthERConfig(WorldModelConfig):
    """Options of SynthER; network, batch and learning rate are its offline ones at width 1024."""

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
    training_precision: Precision = "fp32"
    """Arithmetic of matrix products in training; weights and sums stay in float32."""
    solver_steps: PositiveInt = 128
    """N: steps of the solver per transition."""
    churn: bool = True
    """Heun's solver with fresh noise in every step, 2 N - 1 network calls (paper); otherwise DPM-Solver++, N calls."""
    sampling_precision: Precision = "fp32"
    """Arithmetic of matrix products in sampling."""

    @classmethod
    def small(cls) -> dict[str, Any]:
        """Chosen by the simulator on 50 000 halfcheetah transitions: squared error of generated next states, in
        variances of the data (no change: 1.4), after 115 s on a core: .08 in these 24 calls, .12 in 16; with
        churn .06 in 63 and .03 in 127. DWM's DDPM on the same network had .52 in 32 calls, after 85 s."""
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
    def run_options(cls, preset: Literal["paper", "small"]) -> dict[str, Any]:
        """Single transitions; half of each batch is recorded."""
        return {"synthesis.horizon": 1, "replay.real_ratio": 0.5}


class SynthER(WorldModel):
    """See the module."""

    Config = SynthERConfig
    follows_policy = False
    capturable = True
    makes_transitions = True
    keeps_start = False
    uses_rtg = False
    config: SynthERConfig
    act_low: Tensor  # [A]
    act_high: Tensor  # [A]

    def __init__(self, config: SynthERConfig, spaces: Spaces) -> None:
        super().__init__(config, spaces)
        self.parts = (spaces.obs_size, spaces.act_size, 1, spaces.obs_size)
        self.normalizer = ZScore(sum(self.parts), eps=1e-6)  # a change may be far smaller than 1e-3
        self.preconditioning = Preconditioning(sigma_data=1.0)
        self.register_buffer("act_low", torch.tensor(spaces.act_low), persistent=False)
        self.register_buffer("act_high", torch.tensor(spaces.act_high), persistent=False)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            self.denoiser = ResidualMLP(1, self.row_size, LevelEncoder(config.dim), config.dim, config.multipliers)

    @property
    def row_size(self) -> int:
        """D: continuous entries and `terminated`."""
        return sum(self.parts) + 1

    @property
    def sequence_length(self) -> int:
        return self.config.sequence_length

    @property
    def max_horizon(self) -> int:
        return 1

    def fit_normalizers(self, episodes: Episodes) -> None:
        change = episodes.next_obs - episodes.obs
        rows = np.concatenate([episodes.obs, episodes.act, episodes.rew[:, None], change], 1)
        self.normalizer.fit(rows[episodes.known_next])

    def loss(self, windows: Windows, generator: torch.Generator) -> tuple[Tensor, Metrics]:
        """EDM's weighted squared error, mean over the entries of rows whose next state is recorded."""
        clean = self._rows(windows)
        sigma = training_levels(len(clean), generator)
        noise = torch.randn(clean.shape, generator=generator, device=clean.device)
        noisy = clean + sigma[:, None, None] * noise
        error = (self._denoise(noisy, sigma, self.config.training_precision) - clean).square().mean((1, 2))
        known = windows.step_mask[:, 0] & windows.obs_mask[:, 1]
        loss = (self.preconditioning.weight(sigma) * error * known).sum() / known.sum().clamp_min(1)
        return loss, {"loss": loss.detach()}

    def _rows(self, windows: Windows) -> Tensor:
        """Normalised rows [B, 1, D] of the windows' first transitions: a window of one entry for the denoiser."""
        change = windows.obs[:, 1] - windows.obs[:, 0]
        rows = torch.cat([windows.obs[:, 0], windows.act[:, 0], windows.rew[:, :1], change], 1)
        return torch.cat([self.normalizer(rows), windows.terminated[:, :1].to(rows.dtype)], 1)[:, None]

    def _denoise(self, x: Tensor, sigma: Tensor, precision: Precision) -> Tensor:
        def network(inputs: Tensor, level: Tensor) -> Tensor:
            with reduced(precision, inputs.device):
                return self.denoiser(inputs, level, None).float()

        nothing_given = torch.zeros(1, 1, 1, dtype=torch.bool, device=x.device)
        return self.preconditioning.denoise(network, x, sigma, nothing_given)

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
        """See the interface: as many transitions as there are start pairs, which do not enter; discount 0 where one
        terminated. Policy and return-to-go are ignored."""
        if horizon != 1:
            raise ValueError(f"horizon {horizon} is outside 1..1: the model makes single transitions")
        rows = self._sample(len(obs), generator).squeeze(1)
        start, action, rew, change = self.normalizer.inverse(rows[:, :-1]).split(self.parts, 1)
        return Segments(
            obs=torch.stack([start, start + change], 1),
            act=action.clamp(self.act_low, self.act_high)[:, None],
            rew=rew,
            discount=(rows[:, -1:] < 0.5).to(rew.dtype),
            penalty=torch.zeros_like(rew),
            source=rew.new_ones(len(rew)),
        )

    def _sample(self, num_rows: int, generator: torch.Generator) -> Tensor:
        """Normalised rows [num_rows, 1, D]."""

        def estimate(x: Tensor, sigma: float) -> Tensor:
            return self._denoise(x, torch.full((len(x),), sigma, device=x.device), self.config.sampling_precision)

        start = torch.zeros(num_rows, 1, self.row_size, device=generator.device)
        levels = karras_levels(self.config.solver_steps)
        solver = Heun(levels, CHURN) if self.config.churn else Multistep(levels)
        return solver.sample(estimate, lambda x: x, start, generator)

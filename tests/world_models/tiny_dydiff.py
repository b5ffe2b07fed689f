"""A tiny DyDiff on toy data, and one whose network records its inputs."""

import torch
import toy
from torch import Tensor, nn
from toy import fitted, generator

from dwm_ray.types import Policy, Segments, Windows
from dwm_ray.world_models.dydiff import DyDiff, DyDiffConfig

TINY = {
    **DyDiffConfig.laptop(),
    "sequence_length": 8,
    "denoiser": "unet",
    "dim": 8,
    "multipliers": (2, 4),
    "ensemble_width": 16,
    "ensemble_layers": 1,
    "reward_width": 16,
    "training_precision": "fp32",
    "sampling_precision": "fp32",
}


def build(**options: object) -> DyDiff:
    return fitted(DyDiff, {**TINY, **options})


def windows(rows: int = 16, seed: int = 0, length: int = 8) -> Windows:
    return toy.windows(rows, length, seed)


def linear(obs: Tensor, step: int) -> Tensor:
    return 0.3 * obs.sum(1, keepdim=True) + 0.1


def imagined(model: DyDiff, horizon: int = 7, policy: Policy = linear, rows: int = 16) -> Segments:
    start = windows(rows)
    return model.imagine(
        start.obs[:, 0], start.act[:, 0], policy=policy, horizon=horizon, rtg=0.0, generator=generator()
    )


class Recorder(nn.Module):
    """Network that records its inputs and returns zeros."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Tensor] = []

    def forward(self, x: Tensor, level: Tensor, condition: None) -> Tensor:
        self.seen.append(x)
        return torch.zeros_like(x)


def recording(**options: object) -> tuple[DyDiff, list[Tensor]]:
    model, recorder = build(**options), Recorder()
    model.trajectory.denoiser = recorder
    return model, recorder.seen


def clean_of(model: DyDiff, obs: Tensor, act: Tensor) -> Tensor:
    return torch.cat([model.trajectory.obs_normalizer(obs), model.trajectory.act_normalizer(act)], -1)

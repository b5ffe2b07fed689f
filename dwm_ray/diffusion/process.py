"""Interface of a diffusion process: noising, training target and solver.

A diffusion model composes three independent parts: a layout (contents of the sample tensor), a process (one file each:
`ddpm`, `edm`, `flow`) and a network (`denoisers`). Samples are tensors [B, ...] of about unit scale.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

Network = Callable[[Tensor, Tensor], Tensor]
"""(input [B, ...], level [B]) -> raw prediction [B, ...]; the process defines the unit of the level."""

Impose = Callable[[Tensor], Tensor]
"""Write the given entries into a sample [B, ...]."""


@dataclass(frozen=True)
class GivenEntries:
    """Entries of a sample that are known, such as the first state of a window: clean in every input of the network."""

    mask: Tensor  # bool, broadcasts to [B, ...]
    values: Tensor  # broadcasts to [B, ...]; read where `mask` is True

    def impose(self, x: Tensor) -> Tensor:
        """Return `x` with the given entries written in."""
        return torch.where(self.mask, self.values, x)


class Process(Protocol):
    """Diffusion process. Random numbers come from the generator argument and lie on its device."""

    def training_levels(self, batch: int, generator: torch.Generator) -> Tensor:
        """Sample one noise level per row, [B]."""

    def add_noise(self, clean: Tensor, noise: Tensor, level: Tensor) -> Tensor:
        """Return `clean` [B, ...] at the noise levels [B]; `noise` is standard normal."""

    def squared_error(
        self, network: Network, noisy: Tensor, level: Tensor, clean: Tensor, noise: Tensor, given: GivenEntries | None
    ) -> Tensor:
        """Return the squared error [B, ...] of the network's prediction, before `weight`."""

    def weight(self, level: Tensor) -> Tensor:
        """Return the loss weight [B] of each noise level."""

    def sample(
        self, network: Network, shape: tuple[int, ...], given: GivenEntries | None, generator: torch.Generator
    ) -> Tensor:
        """Sample a tensor of the given shape."""


def imposer(given: GivenEntries | None) -> Impose:
    """Return the function that writes the given entries; the identity if there are none."""
    return (lambda x: x) if given is None else given.impose


def per_row(values: Tensor, like: Tensor) -> Tensor:
    """View [B] values as [B, 1, ...] with the number of dimensions of `like`."""
    return values.view(-1, *[1] * (like.dim() - 1))


def standard_normal(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Sample standard normal numbers on the generator's device."""
    return torch.randn(shape, generator=generator, device=generator.device)


def noise_like(x: Tensor, generator: torch.Generator) -> Tensor:
    """Sample standard normal noise of the shape, device and type of `x`."""
    return torch.randn(x.shape, generator=generator, device=x.device, dtype=x.dtype)

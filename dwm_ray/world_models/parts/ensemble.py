"""Ensemble of MLPs of one size as one network: members are a leading dimension of every matrix product.

Members differ by their initial weights and train on the same batches, as in deep ensembles (arXiv 1612.01474).
`BestMembers` retains each member at its lowest held-out error and counts observations without improvement, as MBPO
(arXiv 1906.08253) does for the ensemble that DyDiff uses.
"""

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class EnsembleLinear(nn.Module):
    """Linear layers [E, B, in] -> [E, B, out], initialised as nn.Linear."""

    def __init__(self, num_members: int, size_in: int, size_out: int) -> None:
        super().__init__()
        bound = 1 / math.sqrt(size_in)
        self.weight = nn.Parameter(torch.empty(num_members, size_in, size_out).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(num_members, 1, size_out).uniform_(-bound, bound))

    def forward(self, x: Tensor) -> Tensor:
        return torch.baddbmm(self.bias, x, self.weight)


class EnsembleMLP(nn.Module):
    """MLPs with SiLU activations: [B, in], or [E, B, in] with rows per member, -> [E, B, out]."""

    def __init__(self, num_members: int, sizes: Sequence[int]) -> None:
        super().__init__()
        self.num_members = num_members
        self.layers = nn.ModuleList(
            EnsembleLinear(num_members, size_in, size_out) for size_in, size_out in pairwise(sizes)
        )

    def forward(self, x: Tensor) -> Tensor:
        if x.dim() == 2:
            x = x.expand(self.num_members, -1, -1)
        for layer in self.layers[:-1]:
            x = F.silu(layer(x))
        return self.layers[-1](x)


class BestMembers(nn.Module):
    """Copies of each member's weights at its lowest held-out error, in buffers, so that a checkpoint contains them."""

    MIN_GAIN = 0.01
    """Minimum relative decrease of the error that counts as an improvement."""

    error: Tensor  # [E] lowest errors so far
    stale: Tensor  # [] int64: observations since the last improvement of any member

    def __init__(self, ensemble: EnsembleMLP) -> None:
        super().__init__()
        self.register_buffer("error", torch.full((ensemble.num_members,), torch.inf))
        self.register_buffer("stale", torch.zeros((), dtype=torch.int64))
        for index, param in enumerate(ensemble.parameters()):
            self.register_buffer(f"weight_{index}", param.detach().clone())

    @torch.no_grad()
    def observe(self, ensemble: EnsembleMLP, error: Tensor) -> None:
        """Copy the members whose error [E] improved."""
        better = error < self.error * (1 - self.MIN_GAIN)
        self.error.copy_(torch.where(better, error, self.error))
        self.stale.copy_(torch.where(better.any(), 0, self.stale + 1))
        for best, param in zip(self._weights(), ensemble.parameters(), strict=True):
            best.copy_(torch.where(better.view(-1, 1, 1), param, best))

    @torch.no_grad()
    def restore(self, ensemble: EnsembleMLP) -> None:
        """Restore every member to its best weights."""
        for best, param in zip(self._weights(), ensemble.parameters(), strict=True):
            param.copy_(best)

    def _weights(self) -> list[Tensor]:
        return [value for name, value in self.named_buffers() if name.startswith("weight_")]


def largest_distance(predictions: Tensor) -> Tensor:
    """Return the largest squared distance [B] between two members' predictions [E, B, D]."""
    rows = predictions.transpose(0, 1)
    gram = rows @ rows.transpose(1, 2)  # [B, E, E]: E is small, D may not be
    norms = gram.diagonal(dim1=1, dim2=2)
    return (norms[:, :, None] + norms[:, None] - 2 * gram).clamp_min(0).amax((1, 2))

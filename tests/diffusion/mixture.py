"""A mixture of two Gaussians N(center, std^2 I) in one or two dimensions, with its exact denoisers."""

import torch
from torch import Tensor


class Mixture:
    """Mixture in double precision; `scale` shrinks it into the range to which a sampler clamps."""

    weights = torch.tensor([0.3, 0.7], dtype=torch.float64)

    def __init__(self, dimensions: int, scale: float = 1.0) -> None:
        centers = torch.tensor([[-1.0, 0.5], [1.0, -0.5]], dtype=torch.float64)
        self.centers = scale * centers[:, :dimensions]  # [2, D]
        self.std = 0.2 * scale

    @property
    def mean(self) -> Tensor:
        return self.weights @ self.centers

    @property
    def covariance(self) -> Tensor:
        off = self.centers - self.mean
        spread = torch.einsum("k,ki,kj->ij", self.weights, off, off)
        return spread + self.std**2 * torch.eye(self.centers.shape[1], dtype=torch.float64)

    def fractions(self, sample: Tensor) -> Tensor:
        """Return the fraction [2] of the samples [B, D] that lie nearest to each center."""
        nearest = torch.cdist(sample, self.centers).argmin(1)
        return torch.bincount(nearest, minlength=2).double() / len(sample)

    def estimate(self, x: Tensor, sigma: float, signal: float = 1.0) -> Tensor:
        """Return E[clean | x] where x = signal * clean + sigma * noise, x [B, D]."""
        off = x.double()[:, None] - signal * self.centers  # [B, 2, D]
        variance = (signal * self.std) ** 2 + sigma**2
        posterior = torch.softmax(self.weights.log() - off.square().sum(2) / (2 * variance), 1)
        clean = self.centers + signal * self.std**2 / variance * off
        return (posterior[:, :, None] * clean).sum(1).to(x.dtype)

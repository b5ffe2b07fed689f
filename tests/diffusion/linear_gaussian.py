"""Three states of s' = .9 s + .5 a + .2 noise, given the first one and the actions: the exact conditional of a window.

A window is x [B, 5] = (s_0, a_0, a_1, s_1, s_2) with s_0 and the actions given. The denoiser reads the given entries
from x, as a network does, so noise there changes its estimate.
"""

import torch
from torch import Tensor

DECAY, GAIN, STD = 0.9, 0.5, 0.2
NUM_GIVEN = 3


class LinearGaussian:
    """System in double precision; `scale` shrinks the given entries and the noise together."""

    size = 5

    def __init__(self, scale: float = 1.0) -> None:
        self.given = scale * torch.tensor([0.8, -0.5, 0.6], dtype=torch.float64)
        self.std = STD * scale
        first = self.std**2
        self.covariance = torch.tensor(
            [[first, DECAY * first], [DECAY * first, (DECAY**2 + 1) * first]], dtype=torch.float64
        )

    @property
    def mean(self) -> Tensor:
        """[2] of s_1, s_2 given the entries that are."""
        return self._mean(self.given[None])[0]

    @staticmethod
    def _mean(inputs: Tensor) -> Tensor:
        start, first, second = inputs.unbind(1)
        s_1 = DECAY * start + GAIN * first
        return torch.stack([s_1, DECAY * s_1 + GAIN * second], 1)

    def impose(self, x: Tensor) -> Tensor:
        return torch.cat([self.given.to(x.dtype).expand(len(x), -1), x[:, NUM_GIVEN:]], 1)

    def moments(self, sample: Tensor) -> tuple[Tensor, Tensor]:
        """Mean [2] and covariance [2, 2] of the sampled states."""
        states = sample[:, NUM_GIVEN:].double()
        return states.mean(0), torch.cov(states.T)

    def estimate(self, x: Tensor, sigma: float, signal: float = 1.0) -> Tensor:
        """Return E[clean | x] where the states are signal * clean + sigma * noise and the given entries are clean."""
        mean = self._mean(x[:, :NUM_GIVEN].double())
        total = signal**2 * self.covariance + sigma**2 * torch.eye(2, dtype=torch.float64)
        gain = signal * self.covariance @ torch.linalg.inv(total)
        states = mean + (x[:, NUM_GIVEN:].double() - signal * mean) @ gain.T
        return torch.cat([x[:, :NUM_GIVEN], states.to(x.dtype)], 1)

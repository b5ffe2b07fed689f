"""Networks of agents: stacks of MLPs with one [num, in, out] parameter per layer, policies, and input scaling.

A stack makes twin critics one batched matrix product. In a population every parameter, observation, action and result
has a leading axis of P members, written as [..., B, O]. Initial weights follow torch's Linear (uniform within
1 / sqrt(inputs)), as in the reference agents.
"""

import math
from collections.abc import Callable
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dwm_ray.data.normalizers import ZScore
from dwm_ray.devices import Precision, product_dtype
from dwm_ray.types import DataStats, Spaces

Activation = Callable[[Tensor], Tensor]
"""Activation function; it may operate in place, since nothing else reads its input."""


class StackedMLP(nn.Module):
    """Independent MLPs of equal sizes, evaluated together.

    Args:
        num: Number of MLPs.
        sizes: Units of the input, the hidden layers and the output.
        precision: Precision of the products between hidden layers, which are nine tenths of the cost.
        activation: Function after every layer except the last.
        layer_norm: Whether LayerNorm follows every activation.
    """

    def __init__(
        self,
        num: int,
        sizes: list[int],
        precision: Precision,
        activation: Activation = torch.relu_,
        layer_norm: bool = False,
    ) -> None:
        super().__init__()
        self.precision = precision
        self.activation = activation
        pairs = list(pairwise(sizes))
        self.weights = nn.ParameterList([_uniform(num, fan_in, fan_out, fan_in) for fan_in, fan_out in pairs])
        self.biases = nn.ParameterList([_uniform(num, 1, fan_out, fan_in) for fan_in, fan_out in pairs])
        normed = sizes[1:-1] if layer_norm else []
        self.gains = nn.ParameterList([nn.Parameter(torch.ones(num, 1, size)) for size in normed])
        self.shifts = nn.ParameterList([nn.Parameter(torch.zeros(num, 1, size)) for size in normed])

    def forward(self, x: Tensor, num: int | None = None) -> Tensor:
        """Map inputs [..., B, in] to outputs [..., num, B, out] of the first `num` networks; by default of all."""
        first, *hidden, last = _pairs(self.weights, self.biases, num)
        norms = iter(_pairs(self.gains, self.shifts, num))
        y = self.activation(torch.baddbmm(first[1], _repeat(x, len(first[0])), first[0]))
        y = _normalized(y, next(norms, None))
        dtype = product_dtype(self.precision, x.device.type)
        for weight, bias in hidden:
            y = self.activation(torch.baddbmm(bias.to(dtype), y.to(dtype), weight.to(dtype)))
            y = _normalized(y, next(norms, None))
        y = _output_layer(y.float(), *last)
        return y if x.ndim == 2 else y.unflatten(0, (len(x), -1))


def _pairs(factors: nn.ParameterList, offsets: nn.ParameterList, num: int | None) -> list[tuple[Tensor, Tensor]]:
    """Return the two parameters [n, ..., out] per layer of the networks to evaluate, member by member."""
    layers: list[tuple[Tensor, Tensor]] = list(zip(factors, offsets, strict=True))
    if num is not None:
        layers = [(factor[..., :num, :, :], offset[..., :num, :, :]) for factor, offset in layers]
    return [(factor.flatten(0, -3), offset.flatten(0, -3)) for factor, offset in layers]


def _normalized(y: Tensor, norm: tuple[Tensor, Tensor] | None) -> Tensor:
    """Return float32 LayerNorm of hidden units [n, B, units] with gain and shift [n, 1, units]; without them, `y`."""
    return y if norm is None else torch.addcmul(norm[1], F.layer_norm(y.float(), y.shape[-1:]), norm[0])


def _repeat(x: Tensor, num: int) -> Tensor:
    """Repeat inputs [B, in], or [P, B, in] of a population, for each of `num` networks: [num, B, in]."""
    return x.expand(num, -1, -1) if x.ndim == 2 else x.unsqueeze(1).expand(-1, num // len(x), -1, -1).flatten(0, 1)


def _uniform(num: int, rows: int, columns: int, fan_in: int) -> nn.Parameter:
    bound = 1 / math.sqrt(fan_in)
    return nn.Parameter(torch.empty(num, rows, columns).uniform_(-bound, bound))


def _output_layer(y: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Apply the last layer; a single output is a product and a sum, five times faster than a matrix product."""
    if weight.shape[2] == 1:
        return (y * weight.transpose(1, 2)).sum(2, keepdim=True) + bias
    return torch.baddbmm(bias, y, weight)


class TwinCritic(nn.Module):
    """Two Q-networks; see `StackedMLP`."""

    def __init__(
        self,
        spaces: Spaces,
        hidden: list[int],
        precision: Precision,
        activation: Activation = torch.relu_,
        layer_norm: bool = False,
    ) -> None:
        super().__init__()
        sizes = [spaces.obs_size + spaces.act_size, *hidden, 1]
        self.body = StackedMLP(2, sizes, precision, activation, layer_norm)

    def forward(self, obs: Tensor, act: Tensor, num: int | None = None) -> Tensor:
        """Return values [..., 2, B] of standardised states and unit actions, or [..., num, B] of the first networks."""
        return self.body(torch.cat([obs, act], -1), num).squeeze(-1)

    def of_actions(self, obs: Tensor, act: Tensor) -> Tensor:
        """Return values [2, B, N] of N unit actions [B, N, A] per standardised state [B, O], in one forward pass."""
        batch, num, _ = act.shape
        rows = torch.cat([obs.unsqueeze(1).expand(-1, num, -1), act], 2).flatten(0, 1)
        return self.body(rows).view(2, batch, num)


class ValueNet(nn.Module):
    """State value network."""

    def __init__(self, spaces: Spaces, hidden: list[int], precision: Precision) -> None:
        super().__init__()
        self.body = StackedMLP(1, [spaces.obs_size, *hidden, 1], precision)

    def forward(self, obs: Tensor) -> Tensor:
        """Return values [..., B] of standardised states [..., B, O]."""
        return self.body(obs).squeeze((-3, -1))


class TanhActor(nn.Module):
    """Deterministic policy, or the mean of a Gaussian one."""

    def __init__(self, spaces: Spaces, hidden: list[int], precision: Precision) -> None:
        super().__init__()
        self.body = StackedMLP(1, [spaces.obs_size, *hidden, spaces.act_size], precision)

    def forward(self, obs: Tensor) -> Tensor:
        """Return unit actions [..., B, A] for standardised states [..., B, O]."""
        return torch.tanh(self.body(obs).squeeze(-3))


class GaussianActor(nn.Module):
    """Gaussian policy of IQL: a tanh mean, and a state-independent log standard deviation per action dimension."""

    LOG_STD_RANGE = (-20.0, 2.0)

    def __init__(self, spaces: Spaces, hidden: list[int], precision: Precision) -> None:
        super().__init__()
        self.mean = TanhActor(spaces, hidden, precision)
        self.log_std = nn.Parameter(torch.zeros(spaces.act_size))

    def negative_log_prob(self, obs: Tensor, act: Tensor) -> Tensor:
        """Return -log p(act | obs) [..., B] of unit actions [..., B, A]."""
        log_std = self.log_std.unsqueeze(-2).clamp(*self.LOG_STD_RANGE)
        z = (act - self.mean(obs)) * torch.exp(-log_std)
        return (0.5 * z.square() + log_std + 0.5 * math.log(2 * math.pi)).sum(-1)


class SquashedActor(nn.Module):
    """Gaussian policy squashed by tanh, with mean and log standard deviation that depend on the state (SAC, CQL)."""

    LOG_STD_RANGE = (-20.0, 2.0)
    LOG_STD_OFFSET = -1.0  # so that an untrained policy is not nearly uniform

    def __init__(self, spaces: Spaces, hidden: list[int], precision: Precision) -> None:
        super().__init__()
        self.body = StackedMLP(1, [spaces.obs_size, *hidden, 2 * spaces.act_size], precision)

    def forward(self, obs: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and log standard deviation [B, A] before squashing, for standardised states [B, O]."""
        mean, log_std = self.body(obs).squeeze(0).chunk(2, dim=1)
        return mean, (log_std + self.LOG_STD_OFFSET).clamp(*self.LOG_STD_RANGE)


def squashed(mean: Tensor, log_std: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
    """Return tanh(mean + std * noise) [..., A] and its log-density [...] for standard normal noise.

    log(1 - tanh(x)^2) is computed as 2 * (log 2 - x - softplus(-2x)), which is finite if tanh saturates.
    """
    x = mean + log_std.exp() * noise
    normal = -0.5 * noise.square() - log_std - 0.5 * math.log(2 * math.pi)
    squash = 2 * (math.log(2) - x - F.softplus(-2 * x))
    return torch.tanh(x), (normal - squash).sum(-1)


class Scaling(nn.Module):
    """Conversion between raw units and network inputs: standardised observations, and unit actions in [-1, 1]."""

    center: Tensor  # [A]
    half_range: Tensor  # [A]

    def __init__(self, spaces: Spaces, stats: DataStats) -> None:
        super().__init__()
        self.obs = ZScore(spaces.obs_size)
        self.obs.mean.copy_(torch.as_tensor(stats.obs_mean))
        std = torch.as_tensor(stats.obs_std)
        # The environment may vary an entry that the data do not, such as a goal; eps alone would amplify it.
        self.obs.scale.copy_(torch.where(std > 1e-7 * self.obs.mean.abs(), std + self.obs.eps, 1.0))
        low, high = torch.tensor(spaces.act_low), torch.tensor(spaces.act_high)
        self.register_buffer("center", (low + high) / 2)
        self.register_buffer("half_range", (high - low) / 2)

    def unit(self, act: Tensor) -> Tensor:
        """Map actions in the task's bounds to [-1, 1]."""
        return (act - self.center) / self.half_range

    def raw(self, act: Tensor) -> Tensor:
        """Map actions in [-1, 1] to the task's bounds."""
        return act * self.half_range + self.center

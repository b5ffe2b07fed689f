"""Bias of imagined returns by start pair, learned from recorded futures (ours).

The recorded future of a start pair is an unbiased sample of what a perfect model would imagine. The errors of imagined
last states are systematic: they raise the value of the last state for some start pairs and lower it for others, and
agents learn to prefer the former. Let V be the value of the behaviour policy, and

    delta_h = r_h + gamma V(s_{h+1}) - V(s_h)

the TD error of step h. The bias b_h of a start pair, its first step and its return-to-go is the expected delta_h of
imagined minus that of recorded segments. Subtracted from the imagined rewards, it makes H-step targets under V unbiased
for every H, up to the regression's error. Targets under another value are as biased as imagined last states are under
the difference of the two values.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from dwm_ray.data.normalizers import ZScore
from dwm_ray.types import Segments, Spaces

WIDTH = 128
VALUE_UPDATES, BIAS_UPDATES = 1500, 1500
BATCH = 256
LEARNING_RATE = 1e-3
TARGET_DECAY = 0.99
STATES_PER_CALL = 8192
"""States per call of the value network; larger calls need more memory and are slower on CPUs."""
SMALLEST_SCALE = 1e-6
"""Lower bound of scales, for data whose rewards are all 0."""


class ReturnBias(nn.Module):
    """MLP (s_t, a_t, s_{t+1}, return-to-go) -> b_1, ..., b_{H-1} in units of reward; 0 until it is fitted."""

    scale: Tensor  # [] unit of the output

    def __init__(self, spaces: Spaces, horizon: int) -> None:
        super().__init__()
        size = 2 * spaces.obs_size + spaces.act_size + 1
        self.normalizer, self.net = ZScore(size), _mlp(size, horizon - 1)
        self.register_buffer("scale", torch.zeros(()))
        self.requires_grad_(False)  # not learned with the model, but after it

    def forward(self, first: Segments, rtg: Tensor) -> Tensor:
        """Return the bias [B, H - 1] of the steps after recorded first steps (H = 1), for a return-to-go [B]."""
        bias: Tensor = self.scale * self.net(self.normalizer(_inputs(first, rtg)))
        return bias

    def fit(self, recorded: Segments, imagined: Segments, rtg: Tensor, generator: torch.Generator) -> None:
        """Learn from recorded and imagined segments (H steps) of the same start pairs, first steps and labels [B].

        Steps after an imagined termination are ignored, because no reward follows that could be corrected.
        """
        inputs, value = _inputs(recorded, rtg), fit_value(recorded, generator)
        self.normalizer.fit(inputs.cpu().numpy())
        inputs, alive = self.normalizer(inputs), imagined.alive[:, 1:].to(inputs.dtype)
        excess = (_td_errors(imagined, value) - _td_errors(recorded, value))[:, 1:]
        self.scale.copy_(excess.square().mean().sqrt().clamp_min(SMALLEST_SCALE))
        excess = excess / self.scale

        def loss(rows: Tensor) -> Tensor:
            return (alive[rows] * self.net(inputs[rows]) - excess[rows]).square().mean()

        _minimize(self.net, loss, BIAS_UPDATES, len(inputs), generator)


class Value(nn.Module):
    """Value of raw states [N, O] -> [N] in units of reward."""

    def __init__(self, recorded: Segments) -> None:
        super().__init__()
        states = recorded.obs[:, 0]
        self.normalizer, self.net = ZScore(states.shape[1]), _mlp(states.shape[1], 1)
        self.normalizer.fit(states.cpu().numpy())
        ends = 1 - recorded.discount.prod(1).mean()
        self.scale = max(float(recorded.reward_sum().abs().mean() / ends), SMALLEST_SCALE)
        self.to(states.device)

    def forward(self, obs: Tensor) -> Tensor:
        value: Tensor = self.scale * self.net(self.normalizer(obs)).squeeze(-1)
        return value


def fit_value(recorded: Segments, generator: torch.Generator) -> Value:
    """Return the value of the behaviour policy, learned by n-step TD from segments of n steps."""
    start, end, rewards = recorded.obs[:, 0], recorded.obs[:, -1], recorded.reward_sum()
    discount, value = recorded.discount.prod(1), Value(recorded)
    target_value = AveragedModel(value, multi_avg_fn=get_ema_multi_avg_fn(TARGET_DECAY)).requires_grad_(False)

    def loss(rows: Tensor) -> Tensor:
        target_value.update_parameters(value)
        target = rewards[rows] + discount[rows] * target_value(end[rows])
        return ((value(start[rows]) - target) / value.scale).square().mean()

    _minimize(value, loss, VALUE_UPDATES, len(start), generator)
    return value


def _mlp(inputs: int, outputs: int) -> nn.Sequential:
    hidden = nn.Linear(inputs, WIDTH), nn.ReLU(), nn.Linear(WIDTH, WIDTH), nn.ReLU()
    return nn.Sequential(*hidden, nn.Linear(WIDTH, outputs))


def _minimize(
    net: nn.Module, loss: Callable[[Tensor], Tensor], num_updates: int, num_rows: int, generator: torch.Generator
) -> None:
    """Train `net` with Adam on batches of rows; its gradients are enabled only meanwhile."""
    net.requires_grad_(True)
    adam = torch.optim.Adam(net.parameters(), lr=LEARNING_RATE, fused=True)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(adam, num_updates)
    for _ in range(num_updates):
        adam.zero_grad(set_to_none=True)
        loss(torch.randint(num_rows, (BATCH,), generator=generator, device=generator.device)).backward()
        adam.step()
        schedule.step()
    net.requires_grad_(False)


def _inputs(segments: Segments, rtg: Tensor) -> Tensor:
    return torch.cat([segments.obs[:, 0], segments.act[:, 0], segments.obs[:, 1], rtg[:, None]], 1)


@torch.no_grad()
def _td_errors(segments: Segments, value: Value) -> Tensor:
    """Return the TD errors [B, H]; 0 after a termination."""
    chunks = segments.obs.flatten(0, 1).split(STATES_PER_CALL)
    values = torch.cat([value(chunk) for chunk in chunks]).view(segments.obs.shape[:2])
    return segments.alive * (segments.rew + segments.discount * values[:, 1:] - values[:, :-1])

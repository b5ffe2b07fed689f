"""Calibration of world models: terminations and rewards of imagined segments compared with those of recorded ones.

Both sides start from the same windows. Step h = 1..H is alive in a segment that has not ended within h - 1 steps.

- `ended`: fraction of segments that have ended within h steps;
- `reward`: mean reward at step h over the segments that are alive at h.

A recording may stop before its task ends. Later steps are unknown: they count neither as alive nor as ended. The
fraction is therefore the product-limit estimate of Kaplan and Meier (1958), 1 - prod_i (1 - ends_i / alive_i). It is
the plain fraction if all windows are recorded to step H. Imagined segments count up to the step where their window's
recording stops. A model that returns the recorded future is therefore calibrated exactly.
"""

from collections.abc import Iterable

import torch
from torch import Tensor

from dwm_ray.types import Json, Segments, Windows

ENDS_TOLERANCE = 0.2
"""Largest difference between the fractions of ended segments, relative to the recorded one, of a calibrated model."""
REWARDS_TOLERANCE = 0.01
"""The same for mean rewards, relative to the mean absolute reward of the recorded steps."""
MIN_ENDS = 25
"""Ends within h steps, imagined or recorded, below which fractions are not compared: with fewer, the standard error of
a fraction exceeds `ENDS_TOLERANCE`."""


@torch.no_grad()
def calibration(pairs: Iterable[tuple[Windows, Segments]]) -> Json:
    """Return the calibration (`compared`) of segments that start where their windows do.

    Args:
        pairs: Chunks of windows [B, T, ...] and segments [B, H, ...], H < T. The discount of an imagined step is 0 from
        the step that ends the task onwards, by the task's rule or by the model.
    """
    chunks = [_chunk_sums(windows, segments) for windows, segments in pairs]
    sums = torch.stack([chunk for chunk, _ in chunks]).sum(0)  # [2, 3, H]
    absolute = float(torch.stack([magnitude for _, magnitude in chunks]).sum())
    observed = sums[1, 0] > 0  # steps that some window records: a prefix
    imagined, recorded = (_curves(side[:, observed]) for side in sums)
    num_steps = float(sums[1, 0].sum())
    return compared(int(sums[1, 0, 0]), imagined, recorded, absolute / num_steps or 1.0)


def compared(num_windows: int, imagined: Json, recorded: Json, reward_unit: float) -> Json:
    """Return both sides, their largest differences over steps, and whether these are within the tolerances.

    ends_difference is relative to the recorded fraction (at least one window); it is None if no step has `MIN_ENDS`
    ends, and ends_agree with it. rewards_difference is relative to `reward_unit`, the mean absolute reward of the
    recorded steps (1 if it is 0).
    """
    fractions = zip(imagined["ended"], recorded["ended"], imagined["num_ends"], recorded["num_ends"], strict=True)
    ends = [abs(a - b) / max(b, 1 / num_windows) for a, b, *counts in fractions if max(counts) >= MIN_ENDS]
    means = zip(imagined["reward"], recorded["reward"], strict=True)
    rewards = max(abs(a - b) for a, b in means if a is not None and b is not None) / reward_unit
    return {
        "num_windows": num_windows,
        "imagined": imagined,
        "recorded": recorded,
        "reward_unit": reward_unit,
        "steps": list(range(1, len(recorded["ended"]) + 1)),
        "ends_difference": max(ends, default=None),
        "ends_agree": max(ends) <= ENDS_TOLERANCE if ends else None,
        "rewards_difference": rewards,
        "rewards_agree": rewards <= REWARDS_TOLERANCE,
    }


def _chunk_sums(windows: Windows, segments: Segments) -> tuple[Tensor, Tensor]:
    """Return [2, 3, H] of imagined and recorded (alive, ends, rewards) by step, and the sum of absolute rewards []."""
    horizon = segments.horizon
    recorded, terminated = windows.step_mask[:, :horizon], windows.terminated[:, :horizon]
    over = terminated.cumsum(1) > 0
    alive = segments.alive & (recorded | over)
    ends = alive & (segments.discount == 0)
    rew = windows.rew[:, :horizon]
    sides = [(alive, ends, segments.rew * alive), (recorded, terminated, rew * recorded)]
    sums = torch.stack([torch.stack([values.double().sum(0) for values in side]) for side in sides])
    return sums, (rew.abs() * recorded).double().sum()


def _curves(sums: Tensor) -> Json:
    """Return one side by step, from its (alive, ends, rewards) [3, H].

    reward is None if no segment is alive; num_ends counts the segments that end within h steps.
    """
    alive, ends, rewards = sums
    survival = torch.cumprod(1 - ends / alive.clamp_min(1), 0)
    means = [total / count if count else None for total, count in zip(rewards.tolist(), alive.tolist(), strict=True)]
    return {"ended": (1 - survival).tolist(), "reward": means, "num_ends": ends.cumsum(0).int().tolist()}

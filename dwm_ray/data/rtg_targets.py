"""Return-to-go targets of segments, absolute or relative to the labels of the data."""

from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from dwm_ray.data.transitions import usable_rows
from dwm_ray.data.windows import RtgKind, window_rtg
from dwm_ray.options import parse_target
from dwm_ray.types import Episodes


@lru_cache(maxsize=4)
def start_labels(episodes: Episodes, discount: float, scale: float, kind: RtgKind, length: int) -> np.ndarray:
    """Return the return-to-go labels [N] float32 of the rows of `fused_rows`, in units of `scale`; cached."""
    labels = window_rtg(episodes, length, discount, kind)[usable_rows(episodes)] / scale
    return labels.astype(np.float32)


def target_rtg_of(target: float | str, labels: np.ndarray, device: torch.device) -> Tensor:
    """Return the value of `synthesis.target_rtg` for each label [N], on `device`.

    A factor f gives label + (f - 1) |label|, so that f > 1 is optimistic for labels of either sign.
    """
    kind, value = parse_target(target)
    if kind != "factor":
        number = value if kind == "absolute" else float(np.quantile(labels, value))
        return torch.tensor(number, device=device).expand(len(labels))
    return torch.from_numpy(labels + np.float32(value - 1) * np.abs(labels)).to(device)


def labels_text(labels: np.ndarray, scale: float) -> str:
    """Describe the range of labels."""
    low, middle, high = np.quantile(labels, (0, 0.5, 1))
    return f"return-to-go labels {low:.3g} to {high:.3g}, median {middle:.3g} (in units of {scale:.4g})"


def is_outside_range(target: float | str, labels: np.ndarray) -> bool:
    """Return whether a target is a number outside the range of the labels."""
    return isinstance(target, float) and not labels.min() <= target <= labels.max()

"""How far a world model's segments are from what really followed, step by step, on held-out windows.

The unit is the standard deviation of the data, so that tasks and dimensions compare. A model that follows a policy is
driven by the window's logged actions, or by another driver such as a cloned behaviour policy; a model that does not
(DWM) gets the first action and the window's own return-to-go only. Unlike the table of DWM (arXiv 2402.03570), which
sets the two side by side, the result says which it was: without the later actions, most of the distance to the one
future that came true is the behaviour's randomness.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dwm_ray.data.windows import WindowSet
from dwm_ray.types import Policy, Windows
from dwm_ray.world_models.base import WorldModel

UNIT = "standard deviations of the data"
CHUNK_ROWS = 512
"""Windows per call of the model; bounds memory."""


@dataclass(frozen=True)
class Driver:
    """Where the later actions come from, for models that follow a policy."""

    name: str
    policy_for: Callable[[Windows], Policy]


LOGGED_ACTIONS = Driver("logged actions", lambda windows: lambda obs, step: windows.act[:, step])
UNDRIVEN = "first action and return-to-go"
AHEAD = ", also those after each state"
"""What recorded actions tell a model that reads ahead, and would tell no learner: they were chosen in those states."""


@dataclass(frozen=True)
class ModelError:
    """Mean squared errors by step 1..H, squares of `UNIT`. State h is s_{t+h}, reward h is r_{t+h-1}."""

    model: str
    driven_by: str
    num_windows: int
    obs_mse: list[float]
    rew_mse: list[float]
    no_change_obs_mse: list[float]
    """Error of predicting that the state stays s_t."""

    def to_json(self) -> dict[str, Any]:
        return {
            "model": self.model,
            "driven_by": self.driven_by,
            "unit": UNIT,
            "num_windows": self.num_windows,
            "steps": list(range(1, len(self.obs_mse) + 1)),
            "obs_mse": self.obs_mse,
            "rew_mse": self.rew_mse,
            "no_change_obs_mse": self.no_change_obs_mse,
            "obs_rms": np.sqrt(self.obs_mse).tolist(),
            "rew_rms": np.sqrt(self.rew_mse).tolist(),
        }


def prediction_error(
    model: WorldModel,
    windows: WindowSet,
    obs_std: np.ndarray,  # [O]
    rew_std: float,
    generator: torch.Generator,
    *,
    driver: Driver = LOGGED_ACTIONS,
    num_windows: int = 2048,
) -> ModelError:
    """Error on at most `num_windows` held-out windows, drawn without repetition; all on the generator's device.

    Steps go up to the model's longest segment, the windows' T - 1, or the last step that any window records.
    """
    starts = torch.randperm(windows.num_windows, generator=generator, device=generator.device)[:num_windows]
    chunks = [
        _chunk_error(model, windows.gather(rows), obs_std, rew_std, driver, generator)
        for rows in starts.split(CHUNK_ROWS)
    ]
    sums, counts = (torch.stack(parts).sum(0) for parts in zip(*chunks, strict=True))
    recorded = (counts > 0).all(0)
    obs_mse, rew_mse, no_change = (sums / counts)[:, recorded].tolist()
    driven_by = UNDRIVEN
    if model.follows_policy:
        driven_by = driver.name + (AHEAD if model.sees_future_actions and driver is LOGGED_ACTIONS else "")
    return ModelError(model.config.plugin_name(), driven_by, len(starts), obs_mse, rew_mse, no_change)


def _chunk_error(
    model: WorldModel,
    windows: Windows,
    obs_std: np.ndarray,
    rew_std: float,
    driver: Driver,
    generator: torch.Generator,
) -> tuple[Tensor, Tensor]:
    """Sums of squared errors [3, H] (states, rewards, no change) and the numbers of entries in them [3, H]."""
    obs, act = windows.obs[:, 0], windows.act[:, 0]
    horizon = min(model.max_horizon, windows.obs.shape[1] - 1)
    policy = driver.policy_for(windows) if model.follows_policy else None
    with torch.no_grad():
        segments = model.imagine(obs, act, policy=policy, horizon=horizon, rtg=windows.rtg, generator=generator)
    later = windows.obs[:, 1 : horizon + 1]
    scale = torch.as_tensor(obs_std, dtype=obs.dtype, device=obs.device)
    scale = torch.where(scale > 1e-6, scale, torch.inf)  # a dimension that never varies has no unit: it counts as 0
    squares = torch.stack(
        [
            ((segments.obs[:, 1:] - later) / scale).square().mean(-1),
            ((segments.rew - windows.rew[:, :horizon]) / (rew_std or torch.inf)).square(),  # constant: counts as 0
            ((obs[:, None] - later) / scale).square().mean(-1),
        ]
    )
    state_mask, step_mask = windows.obs_mask[:, 1 : horizon + 1], windows.step_mask[:, :horizon]
    mask = torch.stack([state_mask, step_mask, state_mask])
    return torch.where(mask, squares, 0.0).double().sum(1), mask.sum(1)

"""Prediction error of world models per step, on held-out windows, in standard deviations of the data.

A model that follows a policy receives the window's logged actions, or those of another driver such as a cloned
behaviour policy. Other models (DWM) receive the first action and the window's return-to-go only. Without the later
actions, most of the error is due to the randomness of the behaviour policy. The table of DWM (arXiv 2402.03570)
compares both kinds directly; here the result names its driver.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from dwm_ray.data.windows import WindowSet
from dwm_ray.types import Json, Policy, Segments, Windows
from dwm_ray.world_models.base import WorldModel

UNIT = "standard deviations of the data"
CHUNK_ROWS = 512
"""Windows per call of the model, which bounds memory."""


@dataclass(frozen=True)
class Driver:
    """Source of the later actions for models that follow a policy."""

    name: str
    policy_for: Callable[[Windows], Policy]


LOGGED_ACTIONS = Driver("logged actions", lambda windows: lambda obs, step: windows.act[:, step])
UNDRIVEN = "first action and return-to-go"
AHEAD = ", also those after each state"
"""Suffix for models that read ahead: the recorded actions reveal later states, which no learner could know."""


def units(std: np.ndarray) -> np.ndarray:
    """Return standard deviations as units; a constant dimension has none and counts as 0."""
    return np.where(std > 1e-6, std, np.inf)


def imagined_windows(
    model: WorldModel,
    windows: WindowSet,
    generator: torch.Generator,
    *,
    driver: Driver = LOGGED_ACTIONS,
    num_windows: int = 2048,
) -> Iterator[tuple[Windows, Segments]]:
    """Yield at most `num_windows` windows in chunks, each with the segments that the model imagines from their starts.

    Windows are sampled without replacement on the generator's device. The number of steps is bounded by the model's
    longest segment and the windows' T - 1. The return-to-go is the windows' own.
    """
    starts = torch.randperm(windows.num_windows, generator=generator, device=generator.device)[:num_windows]
    for rows in starts.split(CHUNK_ROWS):
        chunk = windows.gather(rows)
        horizon = min(model.max_horizon, chunk.obs.shape[1] - 1)
        policy = driver.policy_for(chunk)
        obs, act = chunk.obs[:, 0], chunk.act[:, 0]
        yield chunk, model.imagine(obs, act, policy=policy, horizon=horizon, rtg=chunk.rtg, generator=generator)


@torch.no_grad()
def prediction_error(
    model: WorldModel,
    windows: WindowSet,
    obs_std: np.ndarray,  # [O]
    rew_std: float,
    generator: torch.Generator,
    *,
    driver: Driver = LOGGED_ACTIONS,
    num_windows: int = 2048,
) -> Json:
    """Return the error on `imagined_windows`; its steps end with the last one that a window records.

    Mean squared errors per step 1..H are in squares of `UNIT`: obs_mse of states s_{t+h}, rew_mse of rewards r_{t+h-1},
    and no_change_obs_mse, the error of predicting that the state remains s_t.
    """
    pairs = imagined_windows(model, windows, generator, driver=driver, num_windows=num_windows)
    chunks = [_chunk_error(*pair, obs_std, rew_std) for pair in pairs]
    sums, counts = (torch.stack(tensors).sum(0) for tensors in zip(*chunks, strict=True))
    recorded = (counts > 0).all(0)
    obs_mse, rew_mse, no_change = (sums / counts)[:, recorded].tolist()
    return {
        "model": model.config.plugin_name(),
        "driven_by": driver_name(model, driver),
        "num_windows": min(num_windows, windows.num_windows),
        "obs_mse": obs_mse,
        "rew_mse": rew_mse,
        "no_change_obs_mse": no_change,
        "unit": UNIT,
        "steps": list(range(1, len(obs_mse) + 1)),
    }


def driver_name(model: WorldModel, driver: Driver) -> str:
    """Return the conditioning of a model besides the start pair."""
    if not model.follows_policy:
        return UNDRIVEN
    return driver.name + (AHEAD if model.sees_future_actions and driver is LOGGED_ACTIONS else "")


def _chunk_error(windows: Windows, segments: Segments, obs_std: np.ndarray, rew_std: float) -> tuple[Tensor, Tensor]:
    """Return sums of squared errors [3, H] (states, rewards, no change) and their numbers of entries [3, H]."""
    obs, horizon = windows.obs[:, 0], segments.horizon
    later = windows.obs[:, 1 : horizon + 1]
    scale = torch.as_tensor(units(obs_std), dtype=obs.dtype, device=obs.device)
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

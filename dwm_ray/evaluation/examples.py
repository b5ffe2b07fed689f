"""Recorded futures of a few held-out starts, each next to several imagined ones, for a figure."""

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dwm_ray.data.windows import WindowSet
from dwm_ray.evaluation.model_error import CHUNK_ROWS, LOGGED_ACTIONS
from dwm_ray.types import Termination, Windows
from dwm_ray.world_models.base import WorldModel

RETURNS = {"low": 0.1, "medium": 0.5, "high": 0.9}
"""Starts by their quantile of the return-to-go."""
NUM_IMAGINED = 12
NUM_DIMENSIONS = 2
"""State dimensions, those with the largest variance in the data."""
DIGITS = 5
"""Significant digits of a value."""

Series = dict[str, list[list[float | None]]]
"""Quantity -> future -> value by step."""


@torch.no_grad()
def example_futures(
    model: WorldModel, windows: WindowSet, obs_std: np.ndarray, ends: Termination, generator: torch.Generator
) -> dict[str, Any]:
    """Return recorded and imagined futures of the same starts, state and reward by step, as JSON.

    The model receives the state, the first action and the return-to-go of the recording; a model that follows a policy
    also receives the recorded later actions. Values after the end of a task are None.

    Args:
        model: World model whose segments begin with recorded pairs.
        windows: Held-out windows.
        obs_std: Standard deviation of each state dimension [O].
        ends: The task's rule, by which imagined futures end; the model may end them too.
        generator: Randomness of the choice of starts and of the noise.
    """
    recorded = _starts(windows, generator)
    horizon = min(model.max_horizon, recorded.obs.shape[1] - 1)
    starts = recorded[torch.arange(len(recorded), device=recorded.obs.device).repeat_interleave(NUM_IMAGINED)]
    policy = LOGGED_ACTIONS.policy_for(starts)
    imagined = model.imagine(
        starts.obs[:, 0], starts.act[:, 0], policy=policy, horizon=horizon, rtg=starts.rtg, generator=generator
    )
    alive = replace(imagined, discount=imagined.discount * ~ends(imagined.obs[:, 1:])).alive
    dims = np.sort(np.argsort(-np.asarray(obs_std), kind="stable")[:NUM_DIMENSIONS]).tolist()
    masks = recorded.obs_mask[:, : horizon + 1], recorded.step_mask[:, :horizon]
    recorded_series = _series(recorded.obs[:, : horizon + 1], recorded.rew[:, :horizon], *masks, dims)
    # The state that ends the task is the last one.
    imagined_series = _series(imagined.obs, imagined.rew, torch.cat([alive[:, :1], alive], 1), alive, dims)
    steps = {name: list(range(name == "reward", horizon + 1)) for name in recorded_series}
    return {"names": list(recorded_series), "steps": steps, "starts": _by_start(recorded_series, imagined_series)}


def _by_start(recorded: Series, imagined: Series) -> list[dict[str, Any]]:
    """Return one entry per start: its return, its recorded future and the imagined ones."""
    return [
        {
            "return": label,
            "recorded": {name: values[i] for name, values in recorded.items()},
            "imagined": {name: values[i * NUM_IMAGINED : (i + 1) * NUM_IMAGINED] for name, values in imagined.items()},
        }
        for i, label in enumerate(RETURNS)
    ]


def _starts(windows: WindowSet, generator: torch.Generator) -> Windows:
    """Return the windows at the quantiles of `RETURNS` among those with the longest recordings of a random sample."""
    rows = torch.randperm(windows.num_windows, generator=generator, device=generator.device)[:CHUNK_ROWS]
    sample = windows.gather(rows)
    lengths = sample.step_mask.sum(1)
    longest = sample[torch.nonzero(lengths == lengths.max())[:, 0]]
    positions = [round(quantile * (len(longest) - 1)) for quantile in RETURNS.values()]
    return longest[longest.rtg.argsort()[positions]]


def _series(obs: Tensor, rew: Tensor, obs_mask: Tensor, step_mask: Tensor, dims: list[int]) -> Series:
    """Return the values of some state dimensions and of the reward, one list of steps per future."""
    states = {f"state {dim}": _rounded(obs[..., dim], obs_mask) for dim in dims}
    return {**states, "reward": _rounded(rew, step_mask)}


def _rounded(values: Tensor, mask: Tensor) -> list[list[float | None]]:
    return [
        [float(f"{value:.{DIGITS}g}") if is_valid else None for value, is_valid in zip(row, mask_row, strict=True)]
        for row, mask_row in zip(values.tolist(), mask.tolist(), strict=True)
    ]

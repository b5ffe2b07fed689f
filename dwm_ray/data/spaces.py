"""Spaces of data without an environment: recorded sizes, and recorded or given action bounds."""

from dataclasses import replace

import numpy as np

from dwm_ray.options import DataConfig
from dwm_ray.types import Spaces

MARGIN = 1e-3
"""Margin around a constant action dimension, relative to values above 1; equal bounds could not be used for scaling."""


def recorded_spaces(obs_size: int, act: np.ndarray) -> Spaces:
    """Return the spaces of recorded actions [N, A]: the bounds are the minimum and maximum of each dimension."""
    low, high = act.min(0).astype(np.float64), act.max(0).astype(np.float64)
    margin = np.where(low == high, MARGIN * np.maximum(np.abs(low), 1), 0.0)
    return Spaces(obs_size, act.shape[1], tuple((low - margin).tolist()), tuple((high + margin).tolist()))


def given_spaces(recorded: Spaces, config: DataConfig) -> Spaces:
    """Return the spaces with the bounds of `config`; raise ValueError unless they contain all recorded actions."""
    low = _per_dimension("act_low", config.act_low, recorded.act_low)
    high = _per_dimension("act_high", config.act_high, recorded.act_high)
    for number in range(recorded.act_size):
        lowest, highest = recorded.act_low[number], recorded.act_high[number]
        if low[number] > lowest or high[number] < highest:
            raise ValueError(
                f"data.act_low, data.act_high: {low[number]:g} to {high[number]:g} for action {number}, whose recorded "
                f"values are {lowest:g} to {highest:g}; expected bounds of all recorded values"
            )
    return replace(recorded, act_low=low, act_high=high)


def spaces_text(spaces: Spaces, config: DataConfig) -> str:
    """Describe sizes and action bounds, with their source."""
    sides = [("data.act_low", config.act_low, spaces.act_low), ("data.act_high", config.act_high, spaces.act_high)]
    bounds = [f"{_numbers(values)} ({'the data' if given is None else name})" for name, given, values in sides]
    return f"{spaces.obs_size} observations, {spaces.act_size} actions from {bounds[0]} to {bounds[1]}"


def _per_dimension(name: str, given: tuple[float, ...] | None, recorded: tuple[float, ...]) -> tuple[float, ...]:
    """Return one bound per dimension; a single given number applies to all."""
    if given is None:
        return recorded
    if len(given) not in (1, len(recorded)):
        raise ValueError(f"data.{name}: {len(given)} numbers; expected one, or one for each of {len(recorded)} actions")
    return given if len(given) == len(recorded) else given * len(recorded)


def _numbers(values: tuple[float, ...]) -> str:
    texts = list(dict.fromkeys(f"{value:.3g}" for value in values))
    return texts[0] if len(texts) == 1 else f"[{', '.join(f'{value:.3g}' for value in values)}]"

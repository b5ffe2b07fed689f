"""Check raw arrays and convert them to Episodes; every error names the file and the key.

Arrays have D4RL's names in every file format: observations [N, O], actions [N, A], rewards [N], terminals [N],
timeouts [N] and optionally next_observations [N, O] with known_next [N]. With next_observations, timeouts are optional:
an episode ends where the next observation differs from the next row.
"""

from dataclasses import replace

import numpy as np

from dwm_ray.data.chunks import rowwise
from dwm_ray.data.consistency import make_consistent
from dwm_ray.data.content import with_fingerprint
from dwm_ray.data.environment import known_spaces, recorded_spaces, with_action_bounds, with_step_cap
from dwm_ray.data.mapped import owned
from dwm_ray.data.rows import Rows
from dwm_ray.options import DataConfig
from dwm_ray.tasks.environments import observation_bounds, time_limit
from dwm_ray.tasks.table import environment_info, unknown
from dwm_ray.types import DataCard, Episodes, Spaces

Arrays = dict[str, np.ndarray]

REQUIRED = ("observations", "actions", "rewards", "terminals", "timeouts")
OPTIONAL = ("next_observations", "known_next")
VECTORS = ("observations", "actions", "next_observations")
ACTION_TOLERANCE = 1e-4


def episodes_from(arrays: Arrays, card: DataCard, spaces: Spaces | None = None, limit: int | None = None) -> Episodes:
    """Return checked float32 episodes and fill in the card's fingerprint and findings.

    `spaces` and the time `limit` default to those of the card's environment; without `spaces`, its observation bounds
    are also checked. Without an environment, the spaces come from the data. The last row always ends an episode. Raises
    ValueError naming `card.path` and the key at fault, and if most rows contradict each other
    (`consistency.make_consistent`).
    """
    origin, options = card.path, card.env_options
    arrays = _without_unit_axes(arrays)
    _check_keys(arrays, origin)
    is_named, spaces = spaces is None and card.env_id is not None, spaces or _spaces(arrays, card)
    obs = _numbers(arrays, "observations", origin, spaces.obs_size)
    act, rew = _actions(arrays, origin, spaces), _numbers(arrays, "rewards", origin)
    terminated = _flags(arrays, "terminals", origin)
    truncated = _flags(arrays, "timeouts", origin) if "timeouts" in arrays else np.zeros_like(terminated)
    rows = Rows(obs, *_next_observations(arrays, origin, obs), terminated, truncated)
    info = environment_info(card.env_id, options)
    if limit is None and card.env_id is not None:
        limit = time_limit(card.env_id, options)
    make_consistent(rows, origin, card.env_id or "no environment", limit, info.termination if info else unknown)
    if card.env_id is None and arrays["actions"].dtype.kind in "iu":
        rows.record(np.ones(len(act), dtype=bool), "actions are integers: treated as continuous numbers")
    if is_named:
        rows.record(_outside(obs, card), "observations are outside the environment's observation space: kept")
    card = replace(card, findings=tuple(rows.findings), is_ordered=rows.is_ordered)
    card = with_step_cap(card, int(np.diff(rows.offsets).max()))
    return with_fingerprint(
        Episodes(obs, act, rew, rows.next_obs, rows.terminated, rows.truncated, rows.known_next, card, spaces)
    )


def _without_unit_axes(arrays: Arrays) -> Arrays:
    """Return rewards and flags [N, 1] as [N], and vectors with one entry [N] as [N, 1]."""
    scalars = {key: array[:, 0] for key, array in arrays.items() if key not in VECTORS and np.shape(array)[1:] == (1,)}
    vectors = {key: array[:, None] for key, array in arrays.items() if key in VECTORS and np.ndim(array) == 1}
    return {**arrays, **scalars, **vectors}


def with_bounds(episodes: Episodes, config: DataConfig) -> Episodes:
    """Return the episodes with the action bounds of `config`; raise ValueError if the environment defines them."""
    if config.act_low is None and config.act_high is None:
        return episodes
    if episodes.card.env_id is not None:
        raise ValueError(
            f"data.act_low, data.act_high: {episodes.card.env_id} has action bounds; expected them with data.env none"
        )
    return with_fingerprint(replace(episodes, spaces=with_action_bounds(episodes.spaces, config)))


def _spaces(arrays: Arrays, card: DataCard) -> Spaces:
    if card.env_id is not None:
        return known_spaces(card.path, card.env_id, card.env_options)
    for key in ("observations", "actions"):
        if np.ndim(arrays[key]) != 2:
            raise ValueError(f"{card.path}: {key!r} has shape {np.shape(arrays[key])}; expected rows of vectors")
    act = _numbers(arrays, "actions", card.path, arrays["actions"].shape[1])
    return recorded_spaces(arrays["observations"].shape[1], act)


def _check_keys(arrays: Arrays, origin: str) -> None:
    needed = [key for key in REQUIRED if key != "timeouts" or "next_observations" not in arrays]
    missing = [key for key in needed if key not in arrays]
    if missing:
        raise ValueError(f"{origin}: no key {', '.join(map(repr, missing))}; expected {', '.join(needed)}")
    rows = {key: len(np.atleast_1d(array)) for key, array in arrays.items()}
    expected = rows["observations"]
    if expected == 0:
        raise ValueError(f"{origin}: 'observations' is empty; expected at least one row")
    for key, count in rows.items():
        if count != expected:
            raise ValueError(f"{origin}: {key!r} has {count} rows; expected {expected} as in 'observations'")


def _numbers(arrays: Arrays, key: str, origin: str, width: int | None = None) -> np.ndarray:
    """Return finite contiguous float32 of shape [N] or [N, width]."""
    array = _floats(arrays, key, origin, width)
    bad = ~_is_finite(array)
    if bad.any():
        raise ValueError(
            f"{origin}: {key!r} has NaN or infinite values in {bad.sum()} rows, first in row {bad.argmax()}; "
            "expected finite numbers"
        )
    return array


def _floats(arrays: Arrays, key: str, origin: str, width: int | None = None) -> np.ndarray:
    """Return contiguous float32 of shape [N] or [N, width]; values that overflow become infinite."""
    array = np.asanyarray(arrays[key])  # mapped arrays remain mapped
    expected = (len(array),) if width is None else (len(array), width)
    if array.shape != expected:
        raise ValueError(f"{origin}: {key!r} has shape {array.shape}; expected {expected} for this environment")
    if array.dtype.kind not in "fiub":
        raise ValueError(f"{origin}: {key!r} holds {array.dtype}; expected numbers")
    with np.errstate(over="ignore"):
        return np.asanyarray(array, dtype=np.float32, order="C")


def _is_finite(array: np.ndarray) -> np.ndarray:
    """Return the mask [N] of the rows without NaN or infinity."""
    return rowwise(lambda chunk: np.isfinite(chunk).reshape(len(chunk), -1).all(1), array)


def _actions(arrays: Arrays, origin: str, spaces: Spaces) -> np.ndarray:
    act = _numbers(arrays, "actions", origin, spaces.act_size)
    low, high = np.array(spaces.act_low, np.float32), np.array(spaces.act_high, np.float32)
    low_bound, high_bound = low - ACTION_TOLERANCE, high + ACTION_TOLERANCE
    outside = rowwise(lambda chunk: ((chunk < low_bound) | (chunk > high_bound)).any(1), act)
    if outside.any():
        row = int(outside.argmax())
        raise ValueError(
            f"{origin}: 'actions' are out of bounds in {outside.sum()} rows, first in row {row} "
            f"({np.array2string(act[row], precision=4)}); expected {low.min():g}..{high.max():g}"
        )
    act = owned(act)
    return np.clip(act, low, high, out=act)


def _outside(obs: np.ndarray, card: DataCard) -> np.ndarray:
    """Return the mask [N] of the observations that exceed the bounds of the environment by more than rounding."""
    assert card.env_id is not None
    low, high = observation_bounds(card.env_id, card.env_options)
    margin = ACTION_TOLERANCE * np.where(np.isfinite(high - low), high - low, 1.0)
    return rowwise(lambda chunk: ((chunk < low - margin) | (chunk > high + margin)).any(1), obs)


def _flags(arrays: Arrays, key: str, origin: str) -> np.ndarray:
    array = np.asarray(arrays[key])
    if array.ndim != 1 or not ((array == 0) | (array == 1)).all():
        raise ValueError(f"{origin}: {key!r} is {array.dtype} of shape {array.shape}; expected one 0 or 1 per row")
    return array.astype(bool)


def _next_observations(arrays: Arrays, origin: str, obs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return (next_obs, known_next); unknown ones, which may be NaN or absent, repeat the state."""
    if "next_observations" not in arrays:
        return obs, np.zeros(len(obs), dtype=bool)
    next_obs = _floats(arrays, "next_observations", origin, obs.shape[1])
    known_next = _is_finite(next_obs)
    if "known_next" in arrays:
        known_next &= _flags(arrays, "known_next", origin)
    if not known_next.all():
        next_obs = owned(next_obs)
        next_obs[~known_next] = obs[~known_next]
    return next_obs, known_next

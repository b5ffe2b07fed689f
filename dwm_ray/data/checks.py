"""Raw arrays -> Episodes: everything that can be wrong with a recording is said here, by file and key.

Arrays carry D4RL's names whatever the file format: observations [N, O], actions [N, A], rewards [N], terminals [N],
timeouts [N] and, where the recording has them, next_observations [N, O] with known_next [N].
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Any

import numpy as np

from dwm_ray.tasks.spaces import spaces_of, time_limit
from dwm_ray.types import DataCard, Episodes, Spaces

Arrays = dict[str, np.ndarray]

REQUIRED = ("observations", "actions", "rewards", "terminals", "timeouts")
OPTIONAL = ("next_observations", "known_next")
ACTION_TOLERANCE = 1e-4
ARRAYS = ("obs", "act", "rew", "next_obs", "terminated", "truncated", "known_next")
"""The array fields of `Episodes`."""


def episodes_from(arrays: Arrays, card: DataCard, spaces: Spaces | None = None) -> Episodes:
    """Validated float32 episodes; the card's fingerprint is filled in here.

    `spaces` are the environment's, asked from Gymnasium by `card.env_id` unless given. The last row of the recording
    ends an episode whether marked or not. ValueError names `card.path` and the key at fault.
    """
    where = card.path
    _check_keys(arrays, where)
    spaces = spaces or _known_spaces(card)
    obs = _numbers(arrays, "observations", where, spaces.obs_size)
    terminated, truncated = _episode_ends(arrays, card, len(obs))
    next_obs, known_next = _next_observations(arrays, where, obs, terminated | truncated)
    episodes = Episodes(
        obs=obs,
        act=_actions(arrays, where, spaces),
        rew=_numbers(arrays, "rewards", where, None),
        next_obs=next_obs,
        terminated=terminated,
        truncated=truncated,
        known_next=known_next,
        card=card,
        spaces=spaces,
    )
    return with_fingerprint(episodes)


def with_fingerprint(episodes: Episodes) -> Episodes:
    """A copy whose card names its content: 16 hex digits over the bytes of all arrays."""
    digest = hashlib.sha256()
    for name in ARRAYS:
        array = getattr(episodes, name)
        digest.update(f"{name}{array.shape}".encode())
        digest.update(np.ascontiguousarray(array).data)
    return replace(episodes, card=replace(episodes.card, fingerprint=digest.hexdigest()[:16]))


def _check_keys(arrays: Arrays, where: str) -> None:
    missing = [key for key in REQUIRED if key not in arrays]
    if missing:
        raise ValueError(f"{where}: no key {', '.join(map(repr, missing))}; expected {', '.join(REQUIRED)}")
    num_rows = len(np.atleast_1d(arrays["observations"]))
    if num_rows == 0:
        raise ValueError(f"{where}: 'observations' is empty, there is nothing to learn from")
    for key, array in arrays.items():
        if len(np.atleast_1d(array)) != num_rows:
            raise ValueError(f"{where}: {key!r} has {len(np.atleast_1d(array))} rows, 'observations' has {num_rows}")


def _known_spaces(card: DataCard) -> Spaces:
    try:
        return spaces_of(card.env_id)
    except ValueError as error:
        raise ValueError(f"{card.path}: {error}") from error


def _numbers(arrays: Arrays, key: str, where: str, width: int | None) -> np.ndarray:
    """Finite contiguous float32 of shape [N] (width None) or [N, width]."""
    array = np.asarray(arrays[key])
    expected: tuple[Any, ...] = (len(array),) if width is None else (len(array), width)
    if array.shape != expected:
        raise ValueError(f"{where}: {key!r} has shape {array.shape}, the environment needs {expected}")
    if array.dtype.kind not in "fiu":
        raise ValueError(f"{where}: {key!r} holds {array.dtype}, not numbers")
    with np.errstate(over="ignore"):  # what overflows float32 is reported as infinite
        array = np.ascontiguousarray(array, dtype=np.float32)
    bad = ~np.isfinite(array).reshape(len(array), -1).all(1)
    if bad.any():
        raise ValueError(
            f"{where}: {key!r} has NaN or infinite values in {bad.sum()} rows, first in row {bad.argmax()}"
        )
    return array


def _actions(arrays: Arrays, where: str, spaces: Spaces) -> np.ndarray:
    act = _numbers(arrays, "actions", where, spaces.act_size)
    low, high = np.array(spaces.act_low, np.float32), np.array(spaces.act_high, np.float32)
    outside = ((act < low - ACTION_TOLERANCE) | (act > high + ACTION_TOLERANCE)).any(1)
    if outside.any():
        row = int(outside.argmax())
        raise ValueError(
            f"{where}: 'actions' leave the environment's bounds {low.min():g}..{high.max():g} in {outside.sum()} rows, "
            f"first in row {row}: {np.array2string(act[row], precision=4)}"
        )
    return np.clip(act, low, high)


def _flags(arrays: Arrays, key: str, where: str) -> np.ndarray:
    array = np.asarray(arrays[key])
    if array.ndim != 1 or not ((array == 0) | (array == 1)).all():
        raise ValueError(f"{where}: {key!r} must be one flag (0 or 1) per row, not {array.dtype} of {array.shape}")
    return array.astype(bool)


def _episode_ends(arrays: Arrays, card: DataCard, num_rows: int) -> tuple[np.ndarray, np.ndarray]:
    terminated = _flags(arrays, "terminals", card.path)
    truncated = _flags(arrays, "timeouts", card.path)
    limit = None if (terminated | truncated).any() else time_limit(card.env_id)
    if limit is not None and num_rows > limit:
        raise ValueError(
            f"{card.path}: 'terminals' and 'timeouts' mark no episode end in {num_rows} rows, "
            f"but {card.env_id} ends an episode after {limit} steps"
        )
    truncated[-1] |= not terminated[-1]
    return terminated, truncated


def _next_observations(arrays: Arrays, where: str, obs: np.ndarray, ends: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(next_obs, known_next); without the key, shifted inside episodes and unknown (the state repeated) at ends."""
    if "next_observations" in arrays:
        known = _flags(arrays, "known_next", where) if "known_next" in arrays else np.ones(len(obs), dtype=bool)
        return _numbers(arrays, "next_observations", where, obs.shape[1]), known
    shifted = np.concatenate([obs[1:], obs[-1:]])
    return np.where(ends[:, None], obs, shifted), ~ends

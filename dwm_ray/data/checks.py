"""Check raw arrays and convert them to Episodes; every error names the file and the key.

Arrays have D4RL's names in every file format: observations [N, O], actions [N, A], rewards [N], terminals [N],
timeouts [N] and optionally next_observations [N, O] with known_next [N].
"""

from __future__ import annotations

import hashlib
from dataclasses import replace

import numpy as np

from dwm_ray.data.environment import known_spaces, with_step_cap
from dwm_ray.tasks.environments import time_limit
from dwm_ray.types import DataCard, Episodes, Spaces

Arrays = dict[str, np.ndarray]

REQUIRED = ("observations", "actions", "rewards", "terminals", "timeouts")
OPTIONAL = ("next_observations", "known_next")
ACTION_TOLERANCE = 1e-4
ARRAYS = ("obs", "act", "rew", "next_obs", "terminated", "truncated", "known_next")
"""The array fields of `Episodes`."""


def episodes_from(arrays: Arrays, card: DataCard, spaces: Spaces | None = None) -> Episodes:
    """Return checked float32 episodes and fill in the card's fingerprint.

    `spaces` default to those of the environment `card.env_id`. The last row always ends an episode.
    Raises ValueError naming `card.path` and the key at fault.
    """
    where = card.path
    _check_keys(arrays, where)
    spaces = spaces or known_spaces(where, card.env_id, card.env_options)
    obs = _numbers(arrays, "observations", where, spaces.obs_size)
    terminated, truncated = _episode_ends(arrays, card, len(obs))
    next_obs, known_next = _next_observations(arrays, where, obs, terminated | truncated)
    act, rew = _actions(arrays, where, spaces), _numbers(arrays, "rewards", where)
    episodes = Episodes(obs, act, rew, next_obs, terminated, truncated, known_next, card, spaces)
    longest = int(np.diff(episodes.offsets).max())
    return with_fingerprint(replace(episodes, card=with_step_cap(card, longest)))


def with_fingerprint(episodes: Episodes) -> Episodes:
    """Return the episodes with a card that identifies their content by 16 hex digits."""
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
    rows = {key: len(np.atleast_1d(array)) for key, array in arrays.items()}
    expected = rows["observations"]
    if expected == 0:
        raise ValueError(f"{where}: 'observations' is empty; expected at least one row")
    for key, found in rows.items():
        if found != expected:
            raise ValueError(f"{where}: {key!r} has {found} rows; expected {expected} as in 'observations'")


def _numbers(arrays: Arrays, key: str, where: str, width: int | None = None) -> np.ndarray:
    """Return finite contiguous float32 of shape [N] or [N, width]."""
    array = np.asarray(arrays[key])
    expected = (len(array),) if width is None else (len(array), width)
    if array.shape != expected:
        raise ValueError(f"{where}: {key!r} has shape {array.shape}; expected {expected} for this environment")
    if array.dtype.kind not in "fiu":
        raise ValueError(f"{where}: {key!r} holds {array.dtype}; expected numbers")
    with np.errstate(over="ignore"):  # values that overflow float32 are reported as infinite below
        array = np.ascontiguousarray(array, dtype=np.float32)
    bad = ~np.isfinite(array).reshape(len(array), -1).all(1)
    if bad.any():
        raise ValueError(
            f"{where}: {key!r} has NaN or infinite values in {bad.sum()} rows, first in row {bad.argmax()}; "
            "expected finite numbers"
        )
    return array


def _actions(arrays: Arrays, where: str, spaces: Spaces) -> np.ndarray:
    act = _numbers(arrays, "actions", where, spaces.act_size)
    low, high = np.array(spaces.act_low, np.float32), np.array(spaces.act_high, np.float32)
    outside = ((act < low - ACTION_TOLERANCE) | (act > high + ACTION_TOLERANCE)).any(1)
    if outside.any():
        row = int(outside.argmax())
        raise ValueError(
            f"{where}: 'actions' are out of bounds in {outside.sum()} rows, first in row {row} "
            f"({np.array2string(act[row], precision=4)}); expected {low.min():g}..{high.max():g}"
        )
    return np.clip(act, low, high)


def _flags(arrays: Arrays, key: str, where: str) -> np.ndarray:
    array = np.asarray(arrays[key])
    if array.ndim != 1 or not ((array == 0) | (array == 1)).all():
        raise ValueError(f"{where}: {key!r} is {array.dtype} of shape {array.shape}; expected one 0 or 1 per row")
    return array.astype(bool)


def _episode_ends(arrays: Arrays, card: DataCard, num_rows: int) -> tuple[np.ndarray, np.ndarray]:
    terminated = _flags(arrays, "terminals", card.path)
    truncated = _flags(arrays, "timeouts", card.path)
    limit = None if (terminated | truncated).any() else time_limit(card.env_id, card.env_options)
    if limit is not None and num_rows > limit:
        raise ValueError(
            f"{card.path}: 'terminals' and 'timeouts' mark no episode end in {num_rows} rows; expected one at least "
            f"every {limit} steps, the time limit of {card.env_id}"
        )
    truncated[-1] |= not terminated[-1]
    return terminated, truncated


def _next_observations(arrays: Arrays, where: str, obs: np.ndarray, ends: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return (next_obs, known_next).

    Without the key, next observations are shifted inside episodes; at ends the state is repeated and marked unknown.
    """
    if "next_observations" in arrays:
        known = _flags(arrays, "known_next", where) if "known_next" in arrays else np.ones(len(obs), dtype=bool)
        return _numbers(arrays, "next_observations", where, obs.shape[1]), known
    shifted = np.concatenate([obs[1:], obs[-1:]])
    return np.where(ends[:, None], obs, shifted), ~ends

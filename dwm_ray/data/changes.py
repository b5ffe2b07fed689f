"""Statistics of the change of state from row to row, which show where episodes start in data without flags.

The change of state at a start is larger than usual, or all starts are similar. Most environments have both properties,
so either of them is sufficient.
"""

import numpy as np

from dwm_ray.data.chunks import CHUNK, chunks

JUMP = 3.0
"""Factor by which the change of state at a start exceeds the usual change."""
ALIKE = 0.3
"""Maximum spread of starts, as a fraction of the spread of all states."""
UNORDERED = 0.9
"""Fraction of 2 variances, the mean squared change of shuffled rows, above which rows look shuffled."""
MIN_ROWS = 100
"""Minimum number of rows for meaningful statistics."""


def deviations(obs: np.ndarray) -> np.ndarray:
    """Return the standard deviation of each entry [O], computed from at most `CHUNK` rows to limit memory."""
    std: np.ndarray = obs[:: 1 + len(obs) // CHUNK].std(0, dtype=np.float64)
    return std.astype(np.float32)


def state_changes(obs: np.ndarray) -> np.ndarray:
    """Return the root mean square change of state after each row except the last [N - 1], in standard deviations."""
    scale = 1 / np.maximum(deviations(obs), 1e-6)
    steps = (np.diff(obs[chunk.start : chunk.stop + 1], axis=0) * scale for chunk in chunks(len(obs) - 1))
    return np.concatenate([np.sqrt(np.square(step).mean(1)) for step in steps])


def spread(obs: np.ndarray, rows: np.ndarray) -> float:
    """Return the root mean square deviation of the states at `rows` from their mean, in standard deviations of all."""
    std = deviations(obs)
    varying = std > 1e-6
    return float(np.sqrt(np.square(deviations(obs[rows])[varying] / std[varying]).mean())) if varying.any() else 1.0


def offset_of_marks(obs: np.ndarray, marks: np.ndarray) -> int:
    """Return the offset of episode ends from the marked rows [N]: 0, one row before (-1) or one row after (1)."""
    rows = np.flatnonzero(marks[:-2])
    rows = rows[rows > 0]
    if len(rows) < 2 or len(obs) < MIN_ROWS:
        return 0
    change = state_changes(obs)
    typical, at_ends = float(np.median(change)), float(np.median(change[rows]))
    spreads = {offset: spread(obs, rows + 1 + offset) for offset in (-1, 0, 1)}
    for offset in (-1, 1):
        adjacent = float(np.median(change[rows + offset]))
        jumps = adjacent > JUMP * max(at_ends, typical)
        alike = len(rows) > 2 and spreads[offset] < min(ALIKE, 0.7 * spreads[0])
        if jumps or (alike and at_ends <= JUMP * typical):
            return offset
    return 0


def are_starts(obs: np.ndarray, ends: np.ndarray, rows: np.ndarray) -> bool:
    """Return whether new episodes start after the rows of a mask [N], rather than one recording continuing."""
    if len(obs) < MIN_ROWS or ends.all():
        return False
    change, rows = state_changes(obs), np.flatnonzero(rows[:-1])
    jumps = float(np.median(change[rows])) > JUMP * float(np.median(change[~ends[:-1]]))
    return jumps or (len(rows) > 2 and spread(obs, rows + 1) < ALIKE)


def look_shuffled(obs: np.ndarray, inside: np.ndarray) -> bool:
    """Return whether rows inside episodes differ from the next rows as shuffled rows do (von Neumann's ratio)."""
    return bool(inside.sum() >= MIN_ROWS and np.square(state_changes(obs)[inside]).mean() > UNORDERED * 2)

"""Process arrays that may be larger than memory in chunks of rows."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

CHUNK = 1 << 20
"""Rows per chunk."""


def chunks(num_rows: int) -> Iterator[slice]:
    """Iterate over slices that cover all rows."""
    for start in range(0, num_rows, CHUNK):
        yield slice(start, min(start + CHUNK, num_rows))


def rowwise(mask: Callable[..., Any], *arrays: np.ndarray) -> np.ndarray:
    """Return a mask [N] of arrays with N rows, computed in chunks."""
    masks = [mask(*(array[chunk] for array in arrays)) for chunk in chunks(len(arrays[0]))]
    return np.concatenate(masks or [np.zeros(0, dtype=bool)])


def moments(array: np.ndarray, dtype: type | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and standard deviation over rows, as `array.mean(0, dtype)` and `array.std(0, dtype)` do."""
    if len(array) <= CHUNK:
        return array.mean(0, dtype=dtype), array.std(0, dtype=dtype)
    mean = array.mean(0, dtype=np.float64)
    squares = sum(np.square(array[chunk] - mean).sum(0) for chunk in chunks(len(array)))
    kind = dtype or array.dtype
    return mean.astype(kind), np.sqrt(squares / len(array)).astype(kind)

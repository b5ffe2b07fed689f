"""Chart axes: positions of values and ticks, and tick labels."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

Kind = Literal["linear", "log"]

NUM_STEPS = 5
"""Approximate number of steps between the ticks of a linear axis."""
PADDING = 0.05
"""Free space at both ends of an axis, as a fraction of the range of the values."""
MIN_SHOWN = 1e-4
"""Lower end of a logarithmic axis as a fraction of the highest value; smaller values are below the axis."""


@dataclass(frozen=True)
class Scale:
    """Positions of values between the two ends of an axis; the first end may be the larger one."""

    ends: tuple[float, float]
    ticks: Sequence[tuple[float, str]]
    kind: Kind = "linear"

    def __call__(self, value: float) -> float:
        """Return the position of a value as a fraction of the axis, 0 at its first end and 1 at its last."""
        low, high, position = (_transformed(number, self.kind) for number in (*self.ends, value))
        return (position - low) / (high - low)


def categories(names: Sequence[str], downwards: bool = False) -> Scale:
    """Return an axis with the names at 0, 1, ...; `downwards` puts the first one at the far end."""
    ends = (-0.5, len(names) - 0.5)
    return Scale(ends[::-1] if downwards else ends, list(enumerate(names)))


def scale_of(values: Iterable[float], kind: Kind = "linear", ends: tuple[float, float] | None = None) -> Scale:
    """Return an axis that shows all values, or that has the given ends."""
    finite = [value for value in values if math.isfinite(value)] or [0.0]
    low, high = ends or (min(finite), max(finite))
    if kind == "log":
        low = max(low / 1.5, high * MIN_SHOWN)
        return Scale((low, high * 1.2), _decades(low, high * 1.2), kind)
    margin = 0.0 if ends else PADDING * (high - low or abs(high) or 1.0)
    low, high = low - margin, high + margin
    return Scale((low, high), _multiples(low, high), kind)


def short(value: float) -> str:
    """Return a number in short form: 0.5, 250, 50k, 1M."""
    size = abs(value)
    if size >= 1e4:
        return f"{value / 1e6:g}M" if size >= 1e6 else f"{value / 1e3:g}k"
    return f"{value:.10g}" if size >= 1e-3 or value == 0 else f"{value:.0e}".replace("e-0", "e-")


def _transformed(value: float, kind: Kind) -> float:
    return math.log10(max(value, 1e-300)) if kind == "log" else value


def _multiples(low: float, high: float) -> list[tuple[float, str]]:
    """Return the multiples of 1, 2, 2.5 or 5 times a power of ten in [low, high], about `NUM_STEPS`."""
    rough = (high - low) / NUM_STEPS
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= rough * (1 - 1e-9))
    indices = range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)
    return _printed(round(index * step, 12) for index in indices)


def _decades(low: float, high: float) -> list[tuple[float, str]]:
    """Return the powers of ten in [low, high]; if there are fewer than two, also their multiples by 2 and 5."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    ticks: list[float] = []
    for factors in ((1,), (1, 2, 5)):
        ticks = [f * 10.0**power for power in powers for f in factors if low <= f * 10.0**power <= high]
        if len(ticks) > 1:
            break
    return _printed(ticks)


def _printed(values: Iterable[float]) -> list[tuple[float, str]]:
    return [(value, short(value)) for value in values]

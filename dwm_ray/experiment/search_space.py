"""Search spaces: axes of a sweep, their combinations, and which of these can run at all.

An axis is one file in `tune_spaces/` with a `DIMENSION`, or any option by its dotted path. A point maps axis names to
values; a trial is a point applied to a base `RunConfig`. Infeasible points (H >= T, an option that the chosen plug-in
does not have) are dropped before anything is launched, with their reasons counted.
"""

from __future__ import annotations

import importlib
import itertools
import json
import pkgutil
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

import numpy as np

from dwm_ray.config import RunConfig
from dwm_ray.errors import reason, suggest
from dwm_ray.options import fingerprint

Value = float | int | str
Point = dict[str, Value]


@dataclass(frozen=True)
class Dimension:
    """One axis of a search."""

    name: str
    path: str
    """Dotted path of the option it sets."""
    values: tuple[Value, ...]
    """What a cluster sweeps."""
    small: tuple[Value, ...]
    """What a laptop sweeps."""
    help: str = ""
    requires: tuple[str, str] | None = None
    """(group, plug-in) that a run takes for this axis where its own plug-in lacks the option."""

    def for_profile(self, profile: str) -> tuple[Value, ...]:
        return self.small if profile == "laptop" else self.values


def dimensions() -> dict[str, Dimension]:
    """All axes found in `tune_spaces/`, by name."""
    package = importlib.import_module("tune_spaces")
    modules = (importlib.import_module(f"tune_spaces.{info.name}") for info in pkgutil.iter_modules(package.__path__))
    return {module.DIMENSION.name: module.DIMENSION for module in modules}


def find_dimension(name: str, option: str = "--dimensions") -> Dimension:
    """The axis called `name`; ValueError, which says what option it came from, with the nearest names where there is
    none."""
    known = dimensions()
    if name not in known:
        raise ValueError(f"{option}: unknown axis {name!r}{suggest(name, list(known))}")
    return known[name]


def parse_dimension(text: str, option: str = "--dimensions") -> Dimension:
    """An axis by name, with its own values or, as in 'horizon=1,3', with these; or 'agent.alpha=1,2.5' for an option
    that has no axis. ValueError for an unknown name, and for a dotted path or an '=' without values."""
    name, equals, given = text.partition("=")
    values = tuple(parse_value(word) for word in given.split(",") if word)
    axis = {axis.path: axis for axis in dimensions().values()}.get(name)
    if not values and (equals or (axis is None and "." in name)):
        raise ValueError(f"{option} {text}: expected values, as in {name}=1,2")
    if axis is None and "." in name:
        return Dimension(name, name, values, values)
    axis = axis or find_dimension(name, option)
    return replace(axis, values=values, small=values) if values else axis


def parse_value(word: str) -> Value:
    """A number where it is one, else the word."""
    try:
        value = json.loads(word)
    except ValueError:
        return word
    return value if isinstance(value, float | int) else word


@dataclass(frozen=True)
class Trial:
    """One configuration of a sweep, named by its content: the same trial has the same id in every session."""

    config: RunConfig
    values: Point

    @property
    def id(self) -> str:
        return fingerprint(self.config.identity())[:10]


@dataclass
class Plan:
    """Trials to run, and why other combinations were dropped."""

    trials: list[Trial] = field(default_factory=list)
    dropped: Counter[str] = field(default_factory=Counter)

    def add(self, base: RunConfig, point: Point, axes: dict[str, Dimension]) -> None:
        """Append the trial of a point, or count why it cannot run; a trial that is there already is left out."""
        try:
            trial = Trial(base.with_values({axes[name].path: value for name, value in point.items()}), point)
        except ValueError as error:
            self.dropped[reason(error)] += 1
            return
        if all(trial.id != other.id for other in self.trials):
            self.trials.append(trial)


def grid(axes: Iterable[tuple[str, tuple[Value, ...]]]) -> list[Point]:
    """All combinations, in the order of the axes."""
    pairs = list(axes)
    names = [name for name, _ in pairs]
    return [dict(zip(names, values, strict=True)) for values in itertools.product(*(values for _, values in pairs))]


def random_points(axes: dict[str, tuple[Value, ...]], num_samples: int, seed: int) -> list[Point]:
    """Points drawn uniformly from the axes' values, without repetition as long as there are new ones."""
    everything = grid(axes.items())
    order = np.random.default_rng(seed).permutation(len(everything))
    return [everything[i] for i in order[:num_samples]]


def describe(point: Point) -> str:
    """A point as a person reads it: 'horizon=5 target_rtg=0.4'."""
    return " ".join(f"{name}={value}" for name, value in point.items())

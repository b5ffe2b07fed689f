"""Search axes, their combinations, and the resulting trials.

An axis is a file in `tune_spaces/` with a `DIMENSION`, or any option by its dotted path. A point maps axis names to
values. A trial is a point applied to a base `RunConfig`. Points that cannot run (H >= T, an option that the plug-in
lacks) are dropped before launch, and the reasons are counted.
"""

import itertools
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from dwm_ray.config import RunConfig
from dwm_ray.errors import lookup, reason
from dwm_ray.experiment.dimension import Dimension, Value
from dwm_ray.options import PLACEMENT
from dwm_ray.registry import modules_of, summary
from dwm_ray.runs.folder import RunFolder, status_of
from dwm_ray.runs.tensor_files import write_json

Point = dict[str, Value]


def dimensions() -> dict[str, Dimension]:
    """Return all axes of `tune_spaces/` by name."""
    modules = modules_of("tune_spaces").values()
    axes = (replace(module.DIMENSION, help=summary(module)) for module in modules)
    return {axis.name: axis for axis in axes}


def find_dimension(name: str, option: str = "--dimensions") -> Dimension:
    """Return the axis `name`; raise ValueError naming `option` if there is none."""
    return lookup(dimensions(), name, f"{option}: unknown axis")


def parse_dimension(text: str, option: str = "--dimensions") -> Dimension:
    """Parse 'horizon', 'horizon=1,3' or an option such as 'agent.alpha=1,2'; raise ValueError for invalid axes."""
    name, equals, choices = text.partition("=")
    values = tuple(parse_value(word) for word in choices.split(",") if word)
    axis = {axis.path: axis for axis in dimensions().values()}.get(name)
    if not values and (equals or (axis is None and "." in name)):
        raise ValueError(f"{option} {text}: expected values, as in {name}=1,2")
    if name.partition(".")[0] in PLACEMENT:
        raise ValueError(f"{option} {text}: {name} does not change results; expected another option")
    if axis is None and "." in name:
        return Dimension(name, name, values, values)
    axis = axis or find_dimension(name, option)
    return replace(axis, values=values, laptop=values) if values else axis


def parse_assignment(text: str, option: str) -> tuple[str, Value]:
    """Return ('horizon', 3) for 'horizon=3'; errors name the `option`."""
    name, _, value = text.partition("=")
    if not (name and value):
        raise ValueError(f"{option}: {text!r} is not an option; expected NAME=VALUE, such as synthesis.horizon=3")
    return name, parse_value(value)


def parse_value(word: str) -> Value:
    """Parse a number; return any other word unchanged."""
    try:
        value = json.loads(word)
    except ValueError:
        return word
    return value if isinstance(value, float | int) else word


@dataclass(frozen=True)
class Trial:
    """One configuration of a sweep. Its id depends only on its identity and is the same in every session."""

    config: RunConfig
    values: Point

    @property
    def id(self) -> str:
        """10 hex digits."""
        return self.config.trial_id


@dataclass
class Plan:
    """Trials to run, and the reasons for dropping other points."""

    trials: list[Trial] = field(default_factory=list)
    dropped: Counter[str] = field(default_factory=Counter)

    def add(self, base: RunConfig, point: Point, axes: dict[str, Dimension]) -> None:
        """Append the trial of a point unless the plan contains it; if it cannot run, count the reason."""
        try:
            trial = Trial(base.with_values({axes[name].path: value for name, value in point.items()}), point)
        except ValueError as error:
            self.dropped[reason(error)] += 1
            return
        if all(trial.id != other.id for other in self.trials):
            self.trials.append(trial)


def grid(axes: Iterable[tuple[str, tuple[Value, ...]]]) -> list[Point]:
    """Return all combinations of values, in the order of the axes."""
    choices = [[(name, value) for value in values] for name, values in axes]
    return [dict(point) for point in itertools.product(*choices)]


def random_points(axes: dict[str, tuple[Value, ...]], num_samples: int, seed: int) -> list[Point]:
    """Return up to `num_samples` points of the grid, sampled uniformly without replacement."""
    everything = grid(axes.items())
    order = np.random.default_rng(seed).permutation(len(everything))
    return [everything[i] for i in order[:num_samples]]


def describe(point: Point) -> str:
    """Return a point as text: 'horizon=5 target_rtg=0.4'."""
    return " ".join(f"{name}={value}" for name, value in point.items())


FINISHED = ("done", "stopped")


def unfinished(trials: Sequence[Trial], run: RunFolder) -> list[Trial]:
    """Record and return the trials that still have to run."""
    remaining = [trial for trial in trials if status_of(run.trial(trial.id)) not in FINISHED]
    record_trials(remaining, run)
    return remaining


def record_trials(trials: Sequence[Trial], run: RunFolder) -> None:
    """Write `config.json` and `values.json` to each trial's folder."""
    files = {run.trial(trial.id) / "config.json": trial.config.model_dump(mode="json") for trial in trials}
    files |= {run.trial(trial.id) / "values.json": trial.values for trial in trials}
    with run.writing(*files):
        for path, value in files.items():
            write_json(path, value)

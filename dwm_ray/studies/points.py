"""Axes of a sensitivity study: settings of one option at a time, or of all options together.

An axis is the name of an axis in `tune_spaces/` with the values of the profile, or NAME=V1,V2 with other values. A
dotted path such as world_model.num_refinements=1,2 varies an option that has no axis.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from pydantic import ValidationError

from dwm_ray.config import RunConfig
from dwm_ray.errors import reason
from dwm_ray.experiment.dimension import Value
from dwm_ray.experiment.profiles import Profile
from dwm_ray.experiment.search_space import Point, grid, parse_dimension


@dataclass(frozen=True)
class Axis:
    """An option and its values."""

    name: str
    path: str
    values: tuple[Value, ...]

    @staticmethod
    def parse(text: str, profile: Profile) -> Axis:
        """Parse an axis. Raise ValueError for an unknown name, or a path without values."""
        dimension = parse_dimension(text, "--axes")
        return Axis(dimension.name, dimension.path, dimension.for_profile(profile))


def points_of(axes: list[Axis], together: bool) -> list[Point]:
    """Return points that vary one axis at a time, or every combination."""
    if together:
        return grid((axis.name, axis.values) for axis in axes)
    return [{axis.name: value} for axis in axes for value in axis.values]


def applied(base: RunConfig, point: Point, axes: list[Axis], dropped: Counter[str]) -> RunConfig | None:
    """Return the run at a point; if it is invalid, count the reason and return None."""
    paths = {axis.name: axis.path for axis in axes}
    try:
        return base.with_values({paths[name]: value for name, value in point.items()})
    except (ValidationError, ValueError) as error:
        dropped[reason(error)] += 1
        return None

"""Settings of one option at a time, or of all together: the axes that a sensitivity study varies.

An axis is the name of one in `tune_spaces/`, with that profile's values, or NAME=V1,V2 with others; a dotted path such
as world_model.num_refinements=1,2 varies an option that has no axis.
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
    """An option and the values it takes."""

    name: str
    path: str
    values: tuple[Value, ...]


def parse_axis(text: str, profile: Profile) -> Axis:
    """See the module. ValueError for an unknown name, or a path without values."""
    dimension = parse_dimension(text, "--axes")
    return Axis(dimension.name, dimension.path, dimension.for_profile(profile))


def points_of(axes: list[Axis], together: bool) -> list[Point]:
    """One axis at a time while the others stay as they are, or every combination."""
    if together:
        return grid((axis.name, axis.values) for axis in axes)
    return [{axis.name: value} for axis in axes for value in axis.values]


def applied(base: RunConfig, point: Point, axes: list[Axis], dropped: Counter[str]) -> RunConfig | None:
    """The run at a point; None, and the reason counted, where it cannot be."""
    paths = {axis.name: axis.path for axis in axes}
    try:
        return base.with_values({paths[name]: value for name, value in point.items()})
    except (ValidationError, ValueError) as error:
        dropped[reason(error)] += 1
        return None

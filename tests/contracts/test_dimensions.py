"""Contract of search axes, for all files in tune_spaces/."""

import itertools
from functools import cache
from pathlib import Path
from typing import Any

import pytest

import tune_spaces
from dwm_ray.config import RunConfig
from dwm_ray.experiment import profiles
from dwm_ray.experiment.dimension import Value
from dwm_ray.experiment.search_space import dimensions, find_dimension
from dwm_ray.options import Profile
from dwm_ray.registry import plugins

pytestmark = pytest.mark.parametrize("name", list(dimensions()))

PROFILES: list[Profile] = ["laptop", "paper"]


@cache
def bases(profile: Profile) -> list[RunConfig]:
    """Return a run for every trained world model with every filter, and for every agent with DWM."""
    models: dict[str, Any] = plugins("world_models")
    trained = [name for name, cls in models.items() if cls.trained]
    pairs = itertools.product(trained, ["td3_bc"], plugins("filters"))
    agents = ((name, agent, None) for name, agent in itertools.product(["dwm"], plugins("agents")))
    return [profiles.run_config(profile, *names) for names in itertools.chain(pairs, agents)]


def takes(run: RunConfig, path: str, value: Value) -> bool:
    try:
        changed = run.with_values({path: value})
    except ValueError:
        return False
    return run.with_values({path: value}) == changed


def test_has_the_name_of_its_file_and_a_help_text(name: str) -> None:
    assert (Path(tune_spaces.__path__[0]) / f"{name}.py").is_file()
    assert find_dimension(name).help


def test_values_differ_and_the_laptop_has_fewer(name: str) -> None:
    axis = find_dimension(name)
    for values in (axis.values, axis.laptop):
        assert len(set(values)) == len(values) >= 2
    assert len(axis.laptop) <= len(axis.values)
    assert axis.for_profile("laptop") == axis.laptop
    assert axis.for_profile("paper") == axis.values


@pytest.mark.parametrize("profile", PROFILES)
def test_every_value_can_run_with_some_plug_ins(name: str, profile: Profile) -> None:
    axis, runs = find_dimension(name), bases(profile)
    for value in axis.for_profile(profile):
        assert any(takes(run, axis.path, value) for run in runs), f"{axis.path} = {value} runs nowhere"


def test_a_value_that_is_set_is_read_back(name: str) -> None:
    axis = find_dimension(name)
    run = next(run for run in bases("laptop") if takes(run, axis.path, axis.laptop[0]))
    tree = run.with_values({axis.path: axis.laptop[0]}).model_dump(mode="json")
    for group in axis.path.split("."):
        tree = tree[group]
    assert axis.laptop[0] in (tree, tree["name"] if isinstance(tree, dict) else None)


def test_what_it_requires_has_the_option(name: str) -> None:
    axis = find_dimension(name)
    if axis.requires is None:
        assert takes(profiles.run_config("laptop", "dwm"), axis.path, axis.laptop[0])
        return
    kind, plugin = axis.requires
    group, leaf = axis.path.split(".")
    assert group == kind
    assert leaf in plugins(f"{kind}s")[plugin].Config.model_fields  # type: ignore[attr-defined]

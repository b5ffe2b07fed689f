"""The tree of options: what it refuses, and that JSON loses nothing."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from dwm_ray.config import RunConfig
from dwm_ray.experiment.profiles import run_config
from dwm_ray.options import fingerprint
from dwm_ray.world_models.dwm import DWMConfig


def base(**options: Any) -> RunConfig:
    return RunConfig.model_validate({"world_model": "dwm", "agent": "td3_bc", "filter": "keep_all", **options})


@pytest.mark.parametrize("profile", ["laptop", "paper"])
@pytest.mark.parametrize("model", ["none", "dwm", "one_step"])
def test_json_round_trip(profile: Any, model: str) -> None:
    run = run_config(profile, model, "iql", "softmax")
    assert RunConfig.model_validate_json(run.model_dump_json()) == run
    assert RunConfig.model_validate(run.model_dump(mode="json")) == run


def test_a_plugin_is_given_by_its_name_or_its_options() -> None:
    named = base(world_model={"name": "dwm", "dim": 64})
    assert named.world_model == DWMConfig(dim=64)
    assert base(world_model=DWMConfig(dim=64)) == named
    assert base(world_model=None).model_dump(mode="json")["world_model"] is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"agent": "td3bc"}, "unknown agent 'td3bc'; did you mean td3_bc"),
        ({"world_model": "zzz"}, "unknown world model 'zzz'; known: "),
        ({"filter": {"keep_ratio": 0.5}}, "unknown filter '<missing name>'"),
        ({"filter": {"name": "hardmax", "keep_ratio": 1.5}}, "less than or equal to 1"),
        ({"agent": {"name": "td3_bc", "no_such": 1}}, "no_such"),
        ({"no_such_group": {}}, "no_such_group"),
        ({"replay": {"real_ratio": 1.01}}, "less than or equal to 1"),
        ({"replay": {"real_ratio": float("nan")}}, "finite"),
        ({"training": {"num_updates": 0}}, "greater than or equal to 1"),
        ({"training": {"discount": 1.0}}, "less than 1"),
        ({"data": {"holdout_ratio": 0.0}}, "greater than 0"),
        ({"synthesis": {"horizon": 8}}, "synthesis.horizon: 8 is too long for world_model.sequence_length 8"),
    ],
)
def test_wrong_values_are_refused_by_name(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match="validation error") as caught:
        base(**options)
    assert message in str(caught.value)


def test_options_cannot_be_changed_in_place() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        base().training.num_updates = 5  # type: ignore[misc]


@given(horizon=st.integers(1, 12), length=st.integers(2, 12))
def test_the_horizon_is_below_the_sequence_length(horizon: int, length: int) -> None:
    values = {"world_model.denoiser": "mlp", "world_model.sequence_length": length, "synthesis.horizon": horizon}
    if horizon < length:
        assert base().with_values(values).synthesis.horizon == horizon
    else:
        with pytest.raises(ValidationError, match=r"is too long for world_model\.sequence_length"):
            base().with_values(values)


def test_with_values_sets_paths_and_leaves_the_rest() -> None:
    run = base()
    changed = run.with_values({"synthesis.horizon": 2, "seed": 7, "agent.alpha": 1.0})
    assert (changed.synthesis.horizon, changed.seed) == (2, 7)
    assert changed.model_dump(mode="json")["agent"]["alpha"] == 1.0
    assert changed.with_values({"synthesis.horizon": run.synthesis.horizon, "seed": 0, "agent.alpha": 2.5}) == run


def test_whole_plugins_are_replaced_before_their_options_are_set() -> None:
    changed = base().with_values({"filter.keep_ratio": 0.25, "filter": "hardmax"})
    assert changed.model_dump(mode="json")["filter"] == {"name": "hardmax", "keep_ratio": 0.25}


@pytest.mark.parametrize(
    "path", ["filter.keep_ratio", "synthesis.no_such", "no_such", "no_group.leaf", "world_model.dim"]
)
def test_paths_that_lead_nowhere_are_refused(path: str) -> None:
    with pytest.raises(ValueError, match=f"{path}: no such option"):
        base(world_model=None).with_values({path: 1})


def test_stored_options_of_another_version_are_refused_in_one_line() -> None:
    tree = base().model_dump(mode="json")
    assert RunConfig.stored(tree, "runs/x/config.json") == base()
    tree["training"]["compiled"] = False
    with pytest.raises(ValueError, match=r"^runs/x/config\.json: stored options do not fit this version of dwm_ray"):
        RunConfig.stored(tree, "runs/x/config.json")


def test_a_run_that_lacks_an_option_of_this_version_is_not_resumed() -> None:
    tree = base().model_dump(mode="json")
    assert RunConfig.resumable(tree, "runs/x/config.json") == base()
    del tree["replay"]["capacity"]
    assert RunConfig.stored(tree, "runs/x/config.json") == base(), "its results can still be read"
    with pytest.raises(ValueError, match=r"^runs/x/config\.json: this version of dwm_ray has options that the run has"):
        RunConfig.resumable(tree, "runs/x/config.json")


def test_fingerprints_are_names_of_content() -> None:
    assert fingerprint({"b": 1, "a": [1, 2]}) == fingerprint({"a": [1, 2], "b": 1})
    assert fingerprint([1, 2]) != fingerprint([2, 1])
    assert len(fingerprint("x")) == 16

"""Data without an environment: sizes and action bounds of the recorded rows, or bounds that the user gives."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from recordings import pendulum, write

from dwm_ray.data.load import load_dataset, load_episodes
from dwm_ray.data.spaces import recorded_spaces, spaces_text
from dwm_ray.options import DataConfig
from dwm_ray.types import Spaces


def test_bounds_are_the_recorded_ones_per_dimension() -> None:
    act = np.array([[-1, 0.5, 3], [2, 0.5, 3], [0, 0.5, 3]], np.float32)
    spaces = recorded_spaces(4, act)
    assert (spaces.obs_size, spaces.act_size) == (4, 3)
    assert spaces.act_low == pytest.approx((-1, 0.499, 2.997))  # an actuator that never moves has a small range
    assert spaces.act_high == pytest.approx((2, 0.501, 3.003))


def test_a_file_that_names_no_environment_has_none(tmp_path: Path) -> None:
    content = pendulum()
    found = load_dataset(str(write(tmp_path / "logs.hdf5", content)))
    assert found.card.env_id is None
    assert found.spaces.act_low == (float(content["actions"].min()),)


def test_none_ignores_the_environment_that_the_data_name() -> None:
    named, found = (load_episodes("halfcheetah-medium-replay", DataConfig(env=env)) for env in (None, "none"))
    assert (named.card.env_id, found.card.env_id) == ("HalfCheetah-v5", None)
    assert named.spaces.act_high == (1.0,) * 6
    assert max(found.spaces.act_high) < 1.0
    assert named.card.fingerprint != found.card.fingerprint  # models learn other things from them


def test_given_bounds_replace_the_recorded_ones(tmp_path: Path) -> None:
    file = str(write(tmp_path / "logs.hdf5", pendulum()))
    plain = load_episodes("x", DataConfig(file=file))
    given = load_episodes("x", DataConfig(file=file, act_low=(-5.0,), act_high=(4.0,)))
    assert (given.spaces.act_low, given.spaces.act_high) == ((-5.0,), (4.0,))
    assert given.card.fingerprint != plain.card.fingerprint
    assert spaces_text(given.spaces, DataConfig(act_low=(-5.0,), act_high=(4.0,))) == (
        "3 observations, 1 actions from -5 (data.act_low) to 4 (data.act_high)"
    )


def test_one_number_holds_for_all_dimensions_and_the_text_names_the_source() -> None:
    config = DataConfig(act_low=(-1.0,))
    assert spaces_text(Spaces(2, 2, (-1.0, -1.0), (0.5, 0.25)), config) == (
        "2 observations, 2 actions from -1 (data.act_low) to [0.5, 0.25] (the data)"
    )


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"act_low": (-0.1,)}, r"data.act_low, data.act_high: -0.1 to .* for action 0, whose recorded values are"),
        ({"act_low": (-3.0, -3.0)}, "data.act_low: 2 numbers; expected one, or one for each of 1 actions"),
        ({"act_low": (-3.0,), "env": "Pendulum-v1"}, "Pendulum-v1 has action bounds; expected them with data.env none"),
    ],
)
def test_contradicting_bounds_are_refused(tmp_path: Path, config: dict[str, object], message: str) -> None:
    file = str(write(tmp_path / "logs.hdf5", pendulum()))
    with pytest.raises(ValueError, match=message):
        load_episodes("x", DataConfig.model_validate({"file": file, **config}))

from dataclasses import replace

import numpy as np
import pytest
from recordings import CARD, pendulum

from dwm_ray.data.checks import Arrays, episodes_from


def changed(**entries: object) -> Arrays:
    content = pendulum()
    for key, value in entries.items():
        content[key] = np.asarray(value)
    return content


def with_cell(key: str, row: int, value: float) -> Arrays:
    content = pendulum()
    content[key] = content[key].astype(np.float64)
    content[key][row] = value
    return content


def test_good_arrays_are_kept() -> None:
    raw = pendulum()
    data = episodes_from(raw, CARD)
    np.testing.assert_array_equal(data.obs, raw["observations"])
    np.testing.assert_array_equal(data.act, raw["actions"])
    assert data.offsets.tolist() == [0, 5, 12]
    assert (data.spaces.obs_size, data.spaces.act_low, data.spaces.act_high) == (3, (-2.0,), (2.0,))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (changed(rewards=np.zeros(11)), "'rewards' has 11 rows"),
        (changed(rewards=np.zeros((12, 2))), r"'rewards' has shape \(12, 2\)"),
        (
            changed(observations=np.zeros((12, 4))),
            r"'observations' has shape \(12, 4\); expected \(12, 3\)",
        ),
        (changed(actions=np.zeros((12, 2))), "'actions' has shape"),
        (changed(actions=np.full((12, 1), b"x")), "expected numbers"),
        (changed(timeouts=np.full(12, 2)), "'timeouts' is int64 of shape .*; expected one 0 or 1 per row"),
        (with_cell("observations", 7, np.nan), "'observations' has NaN or infinite values in 1 rows, first in row 7"),
        (with_cell("rewards", 3, 1e300), "'rewards' has NaN or infinite values in 1 rows, first in row 3"),
        (with_cell("actions", 9, 2.01), "'actions' are out of bounds in 1 rows, first in row 9 .*; expected -2..2"),
        ({key: value[:0] for key, value in pendulum().items()}, "'observations' is empty"),
        ({"observations": np.zeros((2, 3))}, "no key 'actions', 'rewards', 'terminals', 'timeouts'"),
    ],
)
def test_bad_arrays_are_named(content: Arrays, message: str) -> None:
    with pytest.raises(ValueError, match=f"made-up.hdf5: .*{message}"):
        episodes_from(content, CARD)


def test_unknown_environment_is_named() -> None:
    with pytest.raises(ValueError, match=r"made-up.hdf5: environment 'Nowhere-v1'"):
        episodes_from(pendulum(), replace(CARD, env_id="Nowhere-v1"))


def test_actions_within_tolerance_are_clipped() -> None:
    assert episodes_from(with_cell("actions", 2, 2.00005), CARD).act.max() == 2.0


def test_last_row_ends_an_episode() -> None:
    content = pendulum()
    content["timeouts"][-1] = False
    data = episodes_from(content, CARD)
    assert data.truncated[-1]
    assert data.num_episodes == 2


def test_recording_without_episode_ends_must_fit_the_time_limit() -> None:
    short = episodes_from(changed(timeouts=np.zeros(12)), CARD)
    assert short.num_episodes == 1
    long = {key: np.repeat(value, 20, axis=0) for key, value in changed(timeouts=np.zeros(12)).items()}
    with pytest.raises(
        ValueError,
        match="mark no episode end in 240 rows; expected one at least every 200 steps, the time limit of Pendulum-v1",
    ):
        episodes_from(long, CARD)


def test_next_observations_are_rebuilt_inside_episodes() -> None:
    data = episodes_from(pendulum(), CARD)
    assert np.flatnonzero(~data.known_next).tolist() == [4, 11]
    np.testing.assert_array_equal(data.next_obs[:4], data.obs[1:5])
    np.testing.assert_array_equal(data.next_obs[5:11], data.obs[6:])


def test_fingerprint_depends_on_content_only() -> None:
    first = episodes_from(pendulum(), CARD).card.fingerprint
    assert first == episodes_from(pendulum(), replace(CARD, path="elsewhere")).card.fingerprint
    assert len(first) == 16
    assert first != episodes_from(with_cell("rewards", 0, 0.5), CARD).card.fingerprint
    assert first != episodes_from(with_cell("terminals", 0, 1), CARD).card.fingerprint


def test_integer_actions_without_an_environment_are_noted() -> None:
    content = changed(actions=np.arange(12) % 3)
    data = episodes_from(content, replace(CARD, env_id=None))
    assert [str(finding) for finding in data.card.findings] == [
        "12 actions are integers: treated as continuous numbers"
    ]
    assert data.act.dtype == np.float32

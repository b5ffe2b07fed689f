"""Contradictions in files: repaired where that is safe, refused where not, and counted."""

from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from recordings import write

from dwm_ray.config import RunConfig
from dwm_ray.data import d4rl
from dwm_ray.data.checks import Arrays, episodes_from
from dwm_ray.data.split import split_rows
from dwm_ray.data.task_data import TaskData
from dwm_ray.types import DataCard, Episodes

LENGTH = 200


def recorded(env_id: str, num_episodes: int, size: float, **kwargs: Any) -> Arrays:
    """Return random actions of relative `size` in an environment, in D4RL's layout with next observations."""
    env, rng, rows = gymnasium.make(env_id, **kwargs), np.random.default_rng(0), []
    high = env.action_space.high  # type: ignore[attr-defined]
    for episode in range(num_episodes):
        (obs, _), ended = env.reset(seed=episode), False
        while not ended:
            act = (size * rng.uniform(-high, high)).astype(np.float32)
            following, rew, terminated, truncated, _ = env.step(act)
            rows.append((obs, act, rew, terminated, truncated, following))
            obs, ended = following, terminated or truncated
    names = ("observations", "actions", "rewards", "terminals", "timeouts", "next_observations")
    return {name: np.array(column) for name, column in zip(names, zip(*rows, strict=True), strict=True)}


@pytest.fixture(scope="module")
def pendulum() -> Arrays:
    """Five episodes of 200 steps."""
    return recorded("Pendulum-v1", 5, 1.0)


@pytest.fixture(scope="module")
def hopper() -> Arrays:
    """Episodes that fall or reach a limit of 60 steps."""
    return recorded("Hopper-v5", 12, 0.1, max_episode_steps=60)


def read(arrays: Arrays, env_id: str = "Pendulum-v1", **changes: Any) -> Episodes:
    content = {**arrays, **changes}
    return episodes_from({key: x for key, x in content.items() if x is not None}, DataCard("", "file", "a", env_id, ""))


def findings(data: Episodes) -> list[str]:
    return [str(finding) for finding in data.card.findings]


def marks(rows: list[int], num_rows: int = 1000) -> np.ndarray:
    out = np.zeros(num_rows, dtype=bool)
    out[rows] = True
    return out


ENDS = [199, 399, 599, 799, 999]


def test_consistent_data_are_unchanged(pendulum: Arrays, hopper: Arrays) -> None:
    for arrays, env_id in ((pendulum, "Pendulum-v1"), (hopper, "Hopper-v5")):
        data = read(arrays, env_id)
        assert findings(data) == []
        np.testing.assert_array_equal(data.next_obs, arrays["next_observations"].astype(np.float32))
        np.testing.assert_array_equal(data.terminated, arrays["terminals"])
        np.testing.assert_array_equal(data.truncated, arrays["timeouts"])


@pytest.mark.parametrize("timeouts", [marks([199, 999]), marks([]), None], ids=["some", "none", "no key"])
def test_unmarked_ends_show_in_next_observations(pendulum: Arrays, timeouts: Any) -> None:
    data = read(pendulum, timeouts=timeouts)
    assert np.flatnonzero(data.truncated).tolist() == ENDS
    assert data.known_next.all()
    missing = 3 if timeouts is not None and timeouts.any() else 4
    assert findings(data) == [
        f"{missing} rows do not lead to the following row: episodes cut there, as by a time limit"
    ]


def test_unmarked_ends_lie_at_the_time_limit(pendulum: Arrays) -> None:
    data = read(pendulum, timeouts=marks([199, 999]), next_observations=None)
    assert np.flatnonzero(data.truncated).tolist() == ENDS
    assert np.flatnonzero(~data.known_next).tolist() == ENDS
    assert findings(data) == ["3 unmarked episode ends: cut at the time limit of 200 steps"]
    with pytest.raises(ValueError, match="mark no episode end in 1000 rows"):  # falls would be unmarked, too
        read(pendulum, timeouts=marks([]), next_observations=None)


def test_a_task_that_never_terminates_needs_no_marks() -> None:
    arrays = recorded("HalfCheetah-v5", 2, 0.1, max_episode_steps=1000)
    data = read(arrays, "HalfCheetah-v5", timeouts=marks([], 2000), next_observations=None)
    assert np.flatnonzero(data.truncated).tolist() == [999, 1999]


@pytest.mark.parametrize(("by", "word"), [(1, "late"), (-1, "early")])
def test_marks_one_row_off_are_moved(pendulum: Arrays, by: int, word: str) -> None:
    rotated = np.roll(pendulum["timeouts"], by)
    for changes in ({}, {"next_observations": None}):
        data = read(pendulum, timeouts=rotated, **changes)
        assert np.flatnonzero(data.truncated).tolist() == ENDS
        assert any(f"are marked one row too {word}" in text for text in findings(data))


def test_terminals_one_row_late_are_moved(hopper: Arrays) -> None:
    both = {name: np.roll(hopper[name], 1) for name in ("terminals", "timeouts")}
    data = read(hopper, "Hopper-v5", **both)
    np.testing.assert_array_equal(data.terminated, hopper["terminals"])


def test_rows_without_the_ends_of_episodes_are_cut(hopper: Arrays) -> None:
    """d4rl.qlearning_dataset drops the rows of time-limit ends and has no timeouts."""
    rows = {name: array[~hopper["timeouts"]] for name, array in hopper.items() if name != "timeouts"}
    data = read(rows, "Hopper-v5")
    assert data.num_episodes == 12
    assert data.terminated.sum() == hopper["terminals"].sum()
    dropped = int(hopper["timeouts"][:-1].sum())
    assert findings(data) == [
        f"{dropped} rows do not lead to the following row: episodes cut there, as by a time limit"
    ]


def options(world_model: str | None) -> RunConfig:
    return RunConfig.model_validate({"world_model": world_model, "agent": "td3_bc", "filter": "keep_all"})


def test_shuffled_rows_are_single_transitions(pendulum: Arrays) -> None:
    order = np.random.default_rng(0).permutation(1000)
    data = read({name: array[order] for name, array in pendulum.items()})
    assert (data.num_episodes, data.known_next.all(), data.card.is_ordered) == (1000, True, False)
    assert (
        "rows do not lead to the following row: they are not in chronological order, so each is used alone"
        in (findings(data)[0])
    )
    for model in (None, "one_step", "recorded"):
        TaskData.of(options(model), data)
    with pytest.raises(ValueError, match="rows are not in chronological order, so there are no windows of 8 states"):
        TaskData.of(options("dwm"), data)
    without = read({name: array[order] for name, array in pendulum.items()}, next_observations=None)
    assert any("as shuffled rows do" in text for text in findings(without))


def test_marks_one_row_off_show_where_states_jump_or_starts_are_alike() -> None:
    cheetah = recorded("HalfCheetah-v5", 4, 1.0, max_episode_steps=100)
    for by in (0, 1, -1):
        data = read(cheetah, "HalfCheetah-v5", timeouts=np.roll(cheetah["timeouts"], by), next_observations=None)
        assert np.flatnonzero(data.truncated).tolist() == [99, 199, 299, 399]


def test_starts_as_next_states_are_unknown(pendulum: Arrays, hopper: Arrays) -> None:
    """Vector environments reset at once and return the next start as the next observation."""
    cheetah = recorded("HalfCheetah-v5", 4, 1.0, max_episode_steps=100)
    for arrays, env_id in ((pendulum, "Pendulum-v1"), (hopper, "Hopper-v5"), (cheetah, "HalfCheetah-v5")):
        ends = arrays["terminals"] | arrays["timeouts"]
        following = arrays["next_observations"].copy()
        following[:-1][ends[:-1]] = arrays["observations"][1:][ends[:-1]]
        data = read(arrays, env_id, next_observations=following)
        assert np.flatnonzero(~data.known_next).tolist() == np.flatnonzero(ends)[:-1].tolist()
        np.testing.assert_array_equal(data.terminated, arrays["terminals"])
        assert findings(data) == [
            f"{ends.sum() - 1} episode ends have the start of the next one as next state: treated as unknown"
        ]


@pytest.mark.parametrize("kind", ["zeros", "repeated"])
def test_placeholders_of_next_states_are_unknown(kind: str, hopper: Arrays) -> None:
    ends, following = hopper["terminals"] | hopper["timeouts"], hopper["next_observations"].copy()
    following[ends] = 0 if kind == "zeros" else hopper["observations"][ends]
    data = read(hopper, "Hopper-v5", next_observations=following)
    np.testing.assert_array_equal(~data.known_next, ends)
    np.testing.assert_array_equal(data.terminated, hopper["terminals"])
    assert findings(data) == [f"{ends.sum()} episode ends have a placeholder as next state: treated as unknown"]


def test_inverted_flags_are_refused(hopper: Arrays) -> None:
    flags = ~(hopper["terminals"] | hopper["timeouts"])
    with pytest.raises(ValueError, match=r"end the episode in \d+ of \d+ rows whose next state follows; expected 1 in"):
        read(hopper, "Hopper-v5", terminals=flags, timeouts=None)
    with pytest.raises(ValueError, match=r"whose next state follows; expected 1 in the last row"):
        read(hopper, "Hopper-v5", timeouts=np.ones_like(flags))


def test_next_observations_that_repeat_observations_are_refused(pendulum: Arrays) -> None:
    with pytest.raises(ValueError, match="'next_observations' repeat 'observations' in most rows"):
        read(pendulum, next_observations=pendulum["observations"])


def test_unknown_next_observations_are_nan_or_cut(pendulum: Arrays) -> None:
    following = pendulum["next_observations"].copy()
    following[[*ENDS, 50]] = np.nan  # as pandas' shift leaves them
    data = read(pendulum, next_observations=following)
    assert np.flatnonzero(~data.known_next).tolist() == [50, *ENDS]
    assert np.isfinite(data.next_obs).all()
    assert np.flatnonzero(data.truncated).tolist() == [50, *ENDS]
    assert findings(data) == ["1 rows inside episodes lack their next state: episodes cut there"]


def test_terminals_follow_the_rule_of_the_task(hopper: Arrays) -> None:
    falls, limits = int(hopper["terminals"].sum()), int(hopper["timeouts"].sum())
    assert min(falls, limits) > 1
    ends = hopper["terminals"] | hopper["timeouts"]
    data = read(hopper, "Hopper-v5", terminals=np.zeros_like(ends), timeouts=ends)
    np.testing.assert_array_equal(data.terminated, hopper["terminals"])
    np.testing.assert_array_equal(data.truncated, hopper["timeouts"])
    assert findings(data) == [
        f"{falls} rows end the episode by the rule of Hopper-v5 without a terminal: marked as terminations"
    ]
    one = hopper["terminals"].copy()
    one[np.flatnonzero(hopper["timeouts"])[0]] = True
    data = read(hopper, "Hopper-v5", terminals=one)
    np.testing.assert_array_equal(data.terminated, hopper["terminals"])
    assert findings(data) == ["1 terminals contradict the rule of Hopper-v5: treated as time-limit ends"]


def test_terminals_at_the_time_limit_are_time_limit_ends() -> None:
    arrays = recorded("HalfCheetah-v5", 2, 0.1)
    data = read(arrays, "HalfCheetah-v5", terminals=arrays["timeouts"], timeouts=np.zeros(2000, bool))
    assert not data.terminated.any()
    assert np.flatnonzero(data.truncated).tolist() == [999, 1999]
    assert findings(data) == ["2 terminals contradict the rule of HalfCheetah-v5: treated as time-limit ends"]


def test_terminals_at_the_time_limit_of_an_unknown_rule_are_time_limit_ends(pendulum: Arrays) -> None:
    for changes in ({}, {"next_observations": None}):
        data = read(pendulum, terminals=pendulum["timeouts"], timeouts=np.zeros(1000, bool), **changes)
        assert np.flatnonzero(data.truncated).tolist() == ENDS
        assert not data.terminated.any()
        assert findings(data) == ["5 terminals are at the time limit of 200 steps: treated as time-limit ends"]


def test_terminals_at_an_own_time_limit_are_time_limit_ends(hopper: Arrays) -> None:
    """The recording ended episodes after 60 steps, the environment after 1000."""
    ends = hopper["terminals"] | hopper["timeouts"]
    data = read(hopper, "Hopper-v5", terminals=ends, timeouts=None)
    np.testing.assert_array_equal(data.terminated, hopper["terminals"])


def test_swapped_next_observations_and_rows_in_reverse_order_are_refused(pendulum: Arrays) -> None:
    swapped = {"observations": pendulum["next_observations"], "next_observations": pendulum["observations"]}
    for changes in (swapped, {key: array[::-1] for key, array in pendulum.items()}):
        with pytest.raises(ValueError, match="the two are swapped or the rows go backwards in time"):
            read(pendulum, **changes)


def test_next_observations_of_another_row_are_refused(pendulum: Arrays) -> None:
    shifted = np.roll(pendulum["next_observations"], -1, axis=0)
    with pytest.raises(ValueError, match="'next_observations' are those of the following row in most rows"):
        read(pendulum, next_observations=shifted)


def test_observations_in_other_units_are_refused(hopper: Arrays) -> None:
    mean, std = hopper["observations"].mean(0), hopper["observations"].std(0)
    scaled = {name: (hopper[name] - mean) / std for name in ("observations", "next_observations")}
    with pytest.raises(ValueError, match=r"rule of Hopper-v5 ends the episode in \d+ of \d+ rows that do not"):
        read(hopper, "Hopper-v5", **scaled)
    with pytest.raises(ValueError, match=r"\d+ of \d+ terminals contradict the rule of Hopper-v5"):
        read(hopper, "Hopper-v5", **{name: array * 0 + [1.2, *[0.0] * 10] for name, array in scaled.items()})


def test_pieces_of_one_log_are_kept_and_counted(pendulum: Arrays) -> None:
    data = read(pendulum, timeouts=pendulum["timeouts"] | marks([99, 299]))
    assert data.num_episodes == 7
    assert findings(data) == ["2 time-limit ends are followed by their own next state: kept as episode ends"]


def test_longer_episodes_and_observations_outside_are_counted(pendulum: Arrays) -> None:
    long = {**recorded("Pendulum-v1", 2, 1.0, max_episode_steps=300)}
    long["observations"][7] = long["next_observations"][6] = [0, 0, 9]
    assert findings(read(long)) == [
        "2 episodes are longer than the time limit of 200 steps: kept",
        "1 observations are outside the environment's observation space: kept",
    ]


@pytest.mark.parametrize("dtype", [np.float64, np.float16, np.int64, np.uint8, bool])
def test_columns_of_one_entry_and_other_types_are_accepted(pendulum: Arrays, dtype: Any) -> None:
    rewards = (pendulum["rewards"] > -1).astype(dtype)[:, None]
    flags = {name: pendulum[name].astype(dtype)[:, None] for name in ("terminals", "timeouts")}
    data = read(pendulum, rewards=rewards, actions=pendulum["actions"][:, 0], **flags)
    assert (data.rew.shape, data.act.shape) == ((1000,), (1000, 1))
    assert np.flatnonzero(data.truncated).tolist() == ENDS


def test_a_recording_of_one_episode_holds_out_its_end(pendulum: Arrays, tmp_path: Path) -> None:
    content = {name: array[:LENGTH] for name, array in pendulum.items()}
    data = d4rl.read(write(tmp_path / "log.hdf5", content, env_id="Pendulum-v1"), "log", "file", None)
    assert (data.num_episodes, findings(data)) == (1, [])
    train, holdout = split_rows(data, 0.1, length=8)
    assert (train.sum(), holdout.sum()) == (LENGTH - 20 - 8 + 1, 20)
    assert np.flatnonzero(train).max() + 8 == np.flatnonzero(holdout).min()
    with pytest.raises(ValueError, match="its only episode of 200 steps is too short to hold out a part of it"):
        split_rows(data, 0.1, length=190)

"""The environment of a dataset: named by its file, requested by the user, or reconstructed from Minari's record."""

import json
from pathlib import Path
from typing import Any

import gymnasium
import minari as minari_package
import numpy as np
import odd_robots
import pytest
from gymnasium.envs.registration import EnvSpec
from gymnasium.wrappers import NormalizeObservation, RecordEpisodeStatistics, RescaleAction
from minari.data_collector import EpisodeBuffer
from recordings import pendulum, write

from dwm_ray.data import d4rl, minari
from dwm_ray.data.environment import environment_id, recorded_spaces, spaces_text
from dwm_ray.data.load import load_dataset, load_episodes
from dwm_ray.env_options import EnvOptions
from dwm_ray.options import DataConfig
from dwm_ray.types import Spaces

ROBOT = f"{odd_robots.__name__}:Robot-v0"


def create(name: str, spec: EnvSpec, eval_spec: EnvSpec | None = None) -> None:
    """Create a set of two episodes of three steps in the spaces of a specification."""
    env = gymnasium.make(spec)
    space = env.action_space
    assert isinstance(space, gymnasium.spaces.Box)
    buffer = EpisodeBuffer(
        observations=np.zeros((4, *env.observation_space.shape), np.float32),
        actions=np.repeat(space.high[None], 3, axis=0),
        rewards=np.arange(3.0),
        terminations=[False] * 3,
        truncations=[False, False, True],
        infos={},
    )
    minari_package.create_dataset_from_buffers(
        name, [buffer, buffer], env=spec, eval_env=eval_spec, description="test", data_format="hdf5"
    )


def spec_of(env: gymnasium.Env) -> EnvSpec:
    assert env.spec is not None
    return env.spec


def test_keyword_arguments_and_time_limit_of_a_set_are_used() -> None:
    create("test/fast-v0", spec_of(gymnasium.make(ROBOT, speed=0.5, max_episode_steps=7)))
    card = minari.read("test/fast-v0", download=False).card
    assert card.env_id == "Robot-v0"
    assert card.env_options == EnvOptions('{"speed": 0.5}', 7)
    assert card.notes == ()


def test_the_evaluation_environment_of_a_set_is_used() -> None:
    create("test/two-v0", spec_of(gymnasium.make("Robot-v0")), spec_of(gymnasium.make("Robot-v0", speed=3.0)))
    assert minari.read("test/two-v0", download=False).card.env_options == EnvOptions('{"speed": 3.0}')
    create("test/other-v0", spec_of(gymnasium.make("Robot-v0")), spec_of(gymnasium.make("Pendulum-v1")))
    with pytest.raises(ValueError, match="evaluation environment Pendulum-v1 has other spaces than Robot-v0"):
        minari.read("test/other-v0", download=False)


def test_a_module_before_the_id_keeps_the_options_and_keyword_arguments_override_them() -> None:
    create("test/own-v0", spec_of(gymnasium.make(ROBOT, speed=0.5)))
    assert minari.read("test/own-v0", False, ROBOT).card.env_options == EnvOptions('{"speed": 0.5}')
    changed = minari.read("test/own-v0", False, ROBOT, '{"speed": 2.0}').card
    assert changed.env_options == EnvOptions('{"speed": 2.0}')
    assert changed.notes == ()


def test_a_requested_environment_wins_with_a_note() -> None:
    create("test/base-v0", spec_of(gymnasium.make(ROBOT, speed=0.5)))
    card = minari.read("test/base-v0", False, f"{odd_robots.__name__}:Strict-v0").card
    assert (card.env_id, card.env_options) == (f"{odd_robots.__name__}:Strict-v0", EnvOptions())
    assert "names the environment Robot-v0; odd_robots:Strict-v0 is used, as data.env requests" in card.notes[0]


def test_wrappers_are_recreated_or_refused_by_name() -> None:
    pendulum_env = gymnasium.make("Pendulum-v1")
    create("test/rescaled-v0", spec_of(RecordEpisodeStatistics(RescaleAction(pendulum_env, -1, 1))))
    data = minari.read("test/rescaled-v0", download=False)
    assert data.spaces.act_high == (1.0,)
    assert [name for name, _ in data.card.env_options.wrappers] == ["RescaleAction"]
    create("test/normalised-v0", spec_of(NormalizeObservation(pendulum_env)))
    with pytest.raises(ValueError, match="in Pendulum-v1 with the wrappers NormalizeObservation, which cannot be"):
        minari.read("test/normalised-v0", download=False)


@pytest.mark.parametrize(("name", "text"), [("Endless", "no time limit"), ("Marathon", "a time limit of 1,000,000")])
def test_episodes_without_a_time_limit_are_capped_with_a_note(name: str, text: str, tmp_path: Path) -> None:
    content = {**pendulum(), "observations": np.zeros((12, 2)), "actions": np.zeros((12, 1))}
    path = write(tmp_path / "a.hdf5", content, env_id=f"{name}-v0")
    card = d4rl.read(path, "a", "file", None).card
    assert card.env_options.max_episode_steps == 1000
    assert card.notes[0].startswith(f"{name}-v0 has {text}")
    assert card.notes[0].endswith("evaluated episodes end after 1,000 steps")


def test_a_file_cannot_decide_which_module_is_imported(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"would import the module 'evil'; expected --data.env evil:X-v0 if you trust"):
        environment_id("a.hdf5", "evil:X-v0", None)
    assert environment_id("a.hdf5", "evil:X-v0", "evil:X-v0") == "evil:X-v0"
    assert environment_id("a.hdf5", "evil:X-v0", "Pendulum-v1") == "Pendulum-v1"


def test_a_module_in_the_working_directory_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = Path(odd_robots.__file__).read_text().replace("odd_robots:", "robots_of_mine:").replace("-v0", "-v7")
    (tmp_path / "robots_of_mine.py").write_text(source)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", [entry for entry in __import__("sys").path if entry])
    content = {**pendulum(), "observations": np.zeros((12, 2)), "actions": np.zeros((12, 1))}
    data = load_dataset(str(write(tmp_path / "a.hdf5", content)), "robots_of_mine:Robot-v7", env_kwargs='{"speed": 1}')
    assert data.card.env_id == "robots_of_mine:Robot-v7"
    assert json.loads(data.card.env_options.kwargs) == {"speed": 1}


def options_tree(options: EnvOptions) -> Any:
    return EnvOptions.from_json(json.loads(json.dumps(options.to_json())))


def test_options_survive_json() -> None:
    options = EnvOptions('{"speed": 1}', 5, (("RescaleAction", '{"min_action": -1}'),))
    assert options_tree(options) == options
    assert EnvOptions.from_json({}) == EnvOptions()


def test_bounds_are_the_recorded_ones_per_dimension() -> None:
    act = np.array([[-1, 0.5, 3], [2, 0.5, 3], [0, 0.5, 3]], np.float32)
    spaces = recorded_spaces(4, act)
    assert (spaces.obs_size, spaces.act_size) == (4, 3)
    assert spaces.act_low == pytest.approx((-1, 0.499, 2.997))  # an actuator that never moves has a small range
    assert spaces.act_high == pytest.approx((2, 0.501, 3.003))


def test_none_ignores_the_environment_that_the_data_name() -> None:
    named, result = (load_episodes("halfcheetah-medium-replay", DataConfig(env=env)) for env in (None, "none"))
    assert (named.card.env_id, result.card.env_id) == ("HalfCheetah-v5", None)
    assert named.spaces.act_high == (1.0,) * 6
    assert max(result.spaces.act_high) < 1.0
    assert named.card.fingerprint != result.card.fingerprint  # models learn other things from them


def test_given_bounds_replace_the_recorded_ones(tmp_path: Path) -> None:
    file = str(write(tmp_path / "logs.hdf5", pendulum()))
    plain = load_episodes("x", DataConfig(file=file))
    given = load_episodes("x", DataConfig(file=file, act_low=(-5.0,), act_high=(4.0,)))
    assert (given.spaces.act_low, given.spaces.act_high) == ((-5.0,), (4.0,))
    assert plain.card.env_id is None
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
        ({"act_low": (-3.0, -3.0)}, "data.act_low: 2 numbers; expected one, or one per action"),
        ({"act_low": (-3.0,), "env": "Pendulum-v1"}, "Pendulum-v1 has action bounds; expected them with data.env none"),
    ],
)
def test_contradicting_bounds_are_refused(tmp_path: Path, config: dict[str, object], message: str) -> None:
    file = str(write(tmp_path / "logs.hdf5", pendulum()))
    with pytest.raises(ValueError, match=message):
        load_episodes("x", DataConfig.model_validate({"file": file, **config}))

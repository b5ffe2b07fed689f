"""Faults of users' environments: one line that names the environment and the call."""

from pathlib import Path

import numpy as np
import odd_robots
import pytest
import torch

from dwm_ray.env_options import EnvOptions
from dwm_ray.evaluation.rollout import evaluate
from dwm_ray.tasks.environments import make_environment, spaces_of, specification, time_limit, try_environment
from dwm_ray.tasks.guard import BrokenEnvironmentError
from dwm_ray.tasks.table import environment_info, task_for

PREFIX = odd_robots.__name__


@pytest.mark.parametrize("name", ["Robot", "Strict", "Integers", "Endless"])
def test_a_good_environment_is_tried_without_a_word(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    try_environment(f"{PREFIX}:{name}-v0")
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("OldInterface", "reset failed: TypeError: .*"),
        ("FourValues", "step 1 failed: ValueError: not enough values to unpack .*"),
        ("ArrayOnly", "reset returned a ndarray; expected a tuple of 2, as in Gymnasium"),
        ("NoDisplay", "creation failed: RuntimeError: cannot open display"),
        ("NoFile", "creation failed: FileNotFoundError: .*/nowhere/robot.xml.*"),
        ("FixedActuator", r"action entries \[1\] are constant in .*; expected low < high"),
        ("NanReward", "step 1 returned reward nan; expected a finite number"),
        ("NanObservation", "step 1 returned an observation with NaN or infinite entries; expected finite numbers"),
        ("Crashes", "step 1 failed: RuntimeError: simulator became unstable"),
        ("Exits", "step 1 failed: SystemExit: no licence"),
    ],
)
def test_a_fault_is_one_line(name: str, text: str) -> None:
    with pytest.raises(BrokenEnvironmentError, match=f"^environment '{PREFIX}:{name}-v0': {text}$") as raised:
        try_environment(f"{PREFIX}:{name}-v0")
    assert "\n" not in str(raised.value)


@pytest.mark.filterwarnings("error")
def test_an_id_without_a_version_is_refused_without_a_warning() -> None:
    with pytest.raises(ValueError, match="'odd_robots:Robot' cannot be created: No registered env with id: Robot"):
        make_environment(f"{PREFIX}:Robot")


def test_a_module_that_is_missing_or_fails_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="'no_such_module:Robot-v0' cannot be created: No module named"):
        make_environment("no_such_module:Robot-v0")
    (tmp_path / "failing_robots.py").write_text("raise RuntimeError('no licence')")
    monkeypatch.syspath_prepend(tmp_path)
    for call in (make_environment, specification):
        with pytest.raises(BrokenEnvironmentError, match=r"importing failing_robots failed: RuntimeError: no licence$"):
            call("failing_robots:Robot-v0")


@pytest.mark.parametrize(("name", "action"), [("Strict", 0.3), ("Strict", -7.0), ("Integers", 2.7), ("Integers", 9.0)])
def test_actions_are_clipped_after_rounding(name: str, action: float) -> None:
    returns = evaluate(lambda obs: torch.full((len(obs), 1), action), f"{PREFIX}:{name}-v0", 2, seed=0).returns
    assert np.isfinite(returns).all()


def test_float32_bounds_of_a_policy_are_inside() -> None:
    """float32(0.1) > 0.1, so a policy that saturates leaves the bounds by rounding."""
    assert float(np.float32(0.1)) > 0.1
    evaluate(lambda obs: torch.full((len(obs), 1), 0.1), f"{PREFIX}:Strict-v0", 1, seed=0)


def test_keyword_arguments_and_time_limit_are_used() -> None:
    options = EnvOptions(kwargs='{"speed": 1.0}', max_episode_steps=7)
    env = make_environment("odd_robots:Robot-v0", options)
    assert env.unwrapped.speed == 1.0
    assert time_limit("odd_robots:Robot-v0", options) == 7
    result = evaluate(lambda obs: torch.zeros(len(obs), 1), "odd_robots:Robot-v0", 1, 0, env_options=options)
    assert result.lengths.tolist() == [7]
    with pytest.raises(ValueError, match=r"unexpected keyword argument 'sped'.*keyword arguments that it accepts"):
        make_environment("odd_robots:Robot-v0", EnvOptions(kwargs='{"sped": 1.0}'))


def test_wrappers_are_recreated() -> None:
    options = EnvOptions(wrappers=(("RescaleAction", '{"min_action": -3, "max_action": 3}'),))
    assert spaces_of("Pendulum-v1", options).act_high == (3.0,)


def test_a_module_before_the_id_changes_no_rule() -> None:
    for env_id in ("Hopper-v4", "PointMaze_UMaze-v3", "AntMaze_UMaze-v4", "Pendulum-v1"):
        assert environment_info(f"some.module:{env_id}") == environment_info(env_id)


@pytest.mark.parametrize(
    ("env_id", "options", "known"),
    [
        ("Hopper-v5", EnvOptions(), True),
        ("Hopper-v5", EnvOptions(max_episode_steps=300), True),
        ("Hopper-v5", EnvOptions('{"healthy_z_range": [0.5, 2]}'), False),
        ("HalfCheetah-v5", EnvOptions('{"forward_reward_weight": 2.0}'), False),
        ("Hopper-v5", EnvOptions(wrappers=(("RescaleAction", "{}"),)), False),
        ("PointMaze_UMaze-v3", EnvOptions('{"continuing_task": true, "maze_map": [[1]], "reset_target": false}'), True),
        ("PointMaze_UMaze-v3", EnvOptions('{"continuing_task": false}'), False),
    ],
)
def test_rules_and_reference_scores_hold_for_registered_rewards_only(
    env_id: str, options: EnvOptions, known: bool
) -> None:
    task = task_for("", env_id, 1.0, options)
    assert task.termination_known == known
    assert task.env_options == options
    assert known or (task.reference, task.rtg_scale) == (None, 1.0)

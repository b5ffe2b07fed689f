"""Golden cases of termination rules and scores (D4RL v2; Gymnasium's MuJoCo environments), and the table of names."""

import math
import pickle
from pathlib import Path

import gymnasium
import numpy as np
import pytest
import torch
from optional_packages import needs_robotics

from dwm_ray.tasks.environments import specification
from dwm_ray.tasks.table import (
    LOCOMOTION,
    MINARI_TASKS,
    TASK_NAMES,
    ant_fell,
    check_name,
    environment_info,
    hopper_fell,
    humanoid_fell,
    no_termination,
    task_for,
    unknown,
    walker2d_fell,
)
from dwm_ray.types import Termination


def state(size: int, height: float, **entries: float) -> torch.Tensor:
    """Return a state of zeros with some entries, as `x3=5.0`, set; entry 0 is the height."""
    obs = torch.zeros(size)
    for name, value in {"x0": height, **entries}.items():
        obs[int(name[1:])] = value
    return obs


HEALTHY = [
    (hopper_fell, state(11, 0.9)),
    (hopper_fell, state(11, 0.71)),
    (hopper_fell, state(11, 150.0)),  # the rule on magnitudes ignores the height
    (hopper_fell, state(11, 0.9, x1=0.19)),
    (hopper_fell, state(11, 0.9, x4=99.9)),
    (walker2d_fell, state(17, 0.9)),
    (walker2d_fell, state(17, 1.99)),
    (walker2d_fell, state(17, 0.9, x1=-0.99)),
    (walker2d_fell, state(17, 0.9, x5=500.0)),
    (ant_fell, state(27, 0.5)),
    (ant_fell, state(27, 0.2)),
    (ant_fell, state(27, 1.0)),
    (humanoid_fell, state(376, 1.01, x20=1e5)),
    (humanoid_fell, state(376, 1.99, x20=1e5)),
]
FALLEN = [
    (hopper_fell, state(11, 0.7)),
    (hopper_fell, state(11, 0.9, x1=0.2)),
    (hopper_fell, state(11, 0.9, x1=-0.21)),
    (hopper_fell, state(11, 0.9, x4=100.0)),
    (hopper_fell, state(11, 0.9, x10=-100.5)),
    (hopper_fell, state(11, 0.9, x10=math.nan)),
    (walker2d_fell, state(17, 0.8)),
    (walker2d_fell, state(17, 2.0)),
    (walker2d_fell, state(17, math.nan)),
    (walker2d_fell, state(17, 0.9, x1=1.0)),
    (ant_fell, state(27, 0.19)),
    (ant_fell, state(27, 1.01)),
    (ant_fell, state(27, 0.5, x20=math.inf)),
    (humanoid_fell, state(376, 1.0)),
    (humanoid_fell, state(376, 2.0)),
    (humanoid_fell, state(376, math.nan)),
]


@pytest.mark.parametrize(("cases", "fell"), [(HEALTHY, False), (FALLEN, True)])
def test_termination_rules(cases: list[tuple[Termination, torch.Tensor]], fell: bool) -> None:
    for rule, obs in cases:
        assert bool(rule(obs)) is fell, (rule, obs[obs != 0])


@pytest.mark.parametrize("rule", [no_termination, unknown, hopper_fell, walker2d_fell, ant_fell, humanoid_fell])
def test_rules_keep_leading_dimensions(rule: Termination) -> None:
    fell = rule(torch.zeros(3, 4, 17))
    assert fell.shape == (3, 4)
    assert fell.dtype == torch.bool
    assert bool(fell.all()) is (rule not in (no_termination, unknown))


@pytest.mark.parametrize(
    ("env_id", "rule"), [("Hopper-v5", hopper_fell), ("Walker2d-v5", walker2d_fell), ("Humanoid-v5", humanoid_fell)]
)
def test_rules_agree_with_the_simulator(
    env_id: str, rule: Termination, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Take random actions over many episodes: rule and simulator end each of them in the same step."""
    monkeypatch.chdir(tmp_path)
    env, rng, ended = gymnasium.make(env_id), np.random.default_rng(0), 0
    env.reset(seed=0)
    for _ in range(400):
        obs, _, terminated, truncated, _ = env.step(rng.uniform(-1, 1, env.action_space.shape))
        assert bool(rule(torch.from_numpy(obs))) is terminated
        ended += terminated
        if terminated or truncated:
            env.reset()
    env.close()
    assert ended > 5


@pytest.mark.parametrize(
    ("env_id", "random", "expert", "scale"),
    [
        ("HalfCheetah-v5", -280.178953, 12135.0, 1200.0),
        ("Hopper-v4", -20.272305, 3234.3, 400.0),
        ("Walker2d-v4", 1.629008, 4592.3, 550.0),
        ("Ant-v4", -325.6, 3879.7, 1000.0),
        ("maze2d-umaze-v1", 23.85, 161.86, 7.0),
        ("maze2d-medium-v1", 13.13, 277.39, 7.0),
        ("maze2d-large-v1", 6.7, 273.99, 7.0),
        ("pen-human-v1", 96.262799, 3076.8331, 7.0),
        ("hammer-cloned-v1", -274.856578, 12794.134825, 7.0),
        ("door-expert-v1", -56.512833, 2880.569309, 7.0),
        ("relocate-human-v1", -6.425911, 4233.877798, 7.0),
        ("kitchen-mixed-v0", 0.0, 4.0, 7.0),
    ],
)
def test_normalised_scores(env_id: str, random: float, expert: float, scale: float) -> None:
    task = task_for("", env_id, return_max=7.0)
    scores = [task.score(value) for value in (random, (random + expert) / 2, expert)]
    assert scores == pytest.approx([0.0, 50.0, 100.0])
    assert (task.score_unit, task.rtg_scale) == ("normalised score", scale)


def test_golden_score() -> None:
    assert task_for("halfcheetah-medium", "HalfCheetah-v4", 0.0).score(5000.0) == pytest.approx(42.530027, abs=1e-6)


def test_an_unknown_environment_has_raw_scores_and_the_scale_of_its_data() -> None:
    task = task_for("mine", "Pendulum-v1", return_max=-50.0)
    assert (task.score(-123.4), task.score_unit) == (-123.4, "raw return")
    assert (task.rtg_scale, task.termination) == (50.0, unknown)
    assert task_for("mine", "Pendulum-v1", return_max=0.0).rtg_scale == 1.0


def test_known_and_unknown_rules_differ_in_every_process() -> None:
    known = {env: task_for("", env, 1.0) for env in ("HalfCheetah-v5", "AntMaze_UMaze-v4", "Humanoid-v5", "Mine-v0")}
    assert [task.termination_known for task in known.values()] == [True, True, True, False]
    assert not pickle.loads(pickle.dumps(known["Mine-v0"])).termination_known


def test_facts_hold_for_all_versions_of_an_environment() -> None:
    assert environment_info("Hopper-v2") is environment_info("Hopper-v5") is LOCOMOTION["hopper"]
    rules = {name: task_for("", f"{info.env_id}-v4", 0.0).termination for name, info in LOCOMOTION.items()}
    assert rules == {"halfcheetah": no_termination, "hopper": hopper_fell, "walker2d": walker2d_fell, "ant": ant_fell}
    assert environment_info("HopperBullet-v0") is None


@pytest.mark.parametrize(
    ("env_id", "unit", "scores"),
    [
        ("AntMaze_UMaze-v4", "success rate", [0.0, 100.0, 100.0]),
        ("AntMaze_Large_Diverse_GR-v5", "success rate", [0.0, 100.0, 100.0]),
        ("AntMaze_UMazeDense-v4", "raw return", [0.0, 1.0, 350.0]),  # every step is rewarded, successful or not
        ("PointMaze_Medium-v3", "raw return", [0.0, 1.0, 350.0]),
        ("AdroitHandPen-v1", "raw return", [0.0, 1.0, 350.0]),
        ("Humanoid-v5", "raw return", [0.0, 1.0, 350.0]),
        ("antmaze-umaze-diverse-v2", "normalised score", [0.0, 100.0, 35000.0]),
        ("maze2d-umaze-dense-v1", "raw return", [0.0, 1.0, 350.0]),  # D4RL's references are those of sparse rewards
    ],
)
def test_scores_beyond_locomotion(env_id: str, unit: str, scores: list[float]) -> None:
    task = task_for("", env_id, return_max=7.0)
    assert (task.score_unit, task.rtg_scale, task.reference is None) == (unit, 7.0, not env_id.startswith("antmaze"))
    assert [task.score(value) for value in (0.0, 1.0, 350.0)] == scores


def test_names() -> None:
    assert len(TASK_NAMES) == 20 + 8 + 6 + 12
    check_name("hopper-medium-replay")
    check_name("antmaze-medium-diverse")
    with pytest.raises(ValueError, match=r"--task: unknown task 'hoper-medium'; did you mean hopper-medium"):
        check_name("hoper-medium")
    with pytest.raises(ValueError, match=r"did you mean .*maze2d-umaze"):
        check_name("maze-2d-umaze")


@pytest.mark.parametrize(
    ("name", "dataset", "env_id"),
    [
        ("maze2d-umaze", "D4RL/pointmaze/umaze-v2", "PointMaze_UMaze-v3"),
        ("maze2d-large-dense", "D4RL/pointmaze/large-dense-v2", "PointMaze_LargeDense-v3"),
        ("antmaze-umaze-diverse", "D4RL/antmaze/umaze-diverse-v1", "AntMaze_UMaze-v4"),
        ("antmaze-large-diverse", "D4RL/antmaze/large-diverse-v1", "AntMaze_Large_Diverse_GR-v4"),
        ("pen-human", "D4RL/pen/human-v2", "AdroitHandPen-v1"),
    ],
)
def test_sets_of_minari(name: str, dataset: str, env_id: str) -> None:
    assert (MINARI_TASKS[name].dataset, MINARI_TASKS[name].env_id) == (dataset, env_id)


@needs_robotics
def test_the_installed_package_knows_every_environment_of_the_table() -> None:
    for task in MINARI_TASKS.values():
        assert task_for("", specification(task.env_id).id, 1.0).termination_known

"""The task table: facts about environments, and the dataset of each task name.

Reference scores, RTG scales and termination rules come from D4RL (arXiv 2004.07219), DWM (arXiv 2402.03570) and the
sources of the environments (Gymnasium 1.4, gymnasium-robotics 1.4.2). Rules read the raw next observation.

Scores:

    HalfCheetah, Hopper, Walker2d, Ant   D4RL's normalised score
    AntMaze_* with sparse rewards        success rate: percentage of episodes that reached the goal, as in D4RL
    PointMaze_*, AdroitHand*, others     raw return

PointMaze and AdroitHand are the successors of D4RL's maze2d and adroit environments, but they have other goals, rewards
and time limits (a new goal per episode instead of a fixed goal, 200 steps of pen instead of 100). D4RL's references
would give misleading scores for them, so they apply only to D4RL's own ids ('maze2d-umaze-v1', 'pen-human-v1'). In a
PointMaze with sparse rewards, the raw return is the number of steps at the goal.
"""

import json
from dataclasses import dataclass
from fnmatch import fnmatchcase

import torch
from torch import Tensor

from dwm_ray.env_options import REGISTERED, EnvOptions
from dwm_ray.errors import suggest
from dwm_ray.types import Termination

ESTIMATED = "estimated value (FQE)"
"""Unit of off-policy estimates: discounted return from the start of an episode, by fitted Q evaluation."""
QUALITIES = ("random", "medium", "medium-replay", "medium-expert", "expert")


def no_termination(obs: Tensor) -> Tensor:
    """Rule of environments whose episodes end only by truncation."""
    return torch.zeros(obs.shape[:-1], dtype=torch.bool, device=obs.device)


def unknown(obs: Tensor) -> Tensor:
    """Return False, because the rule is unknown; see `TaskSpec.termination_known`."""
    return no_termination(obs)


def hopper_fell(obs: Tensor) -> Tensor:
    """Return True unless every entry but the first is within 100, height > 0.7 and |angle| < 0.2."""
    healthy = (obs[..., 1:].abs() < 100).all(-1) & (obs[..., 0] > 0.7) & (obs[..., 1].abs() < 0.2)
    return ~healthy


def walker2d_fell(obs: Tensor) -> Tensor:
    """Return True unless 0.8 < height < 2 and |angle| < 1."""
    healthy = (obs[..., 0] > 0.8) & (obs[..., 0] < 2.0) & (obs[..., 1].abs() < 1.0)
    return ~healthy


def ant_fell(obs: Tensor) -> Tensor:
    """Return True unless 0.2 <= height <= 1 and every entry is finite."""
    healthy = obs.isfinite().all(-1) & (obs[..., 0] >= 0.2) & (obs[..., 0] <= 1.0)
    return ~healthy


def humanoid_fell(obs: Tensor) -> Tensor:
    """Return True unless 1 < height < 2."""
    return ~((obs[..., 0] > 1.0) & (obs[..., 0] < 2.0))


@dataclass(frozen=True)
class EnvironmentInfo:
    """Facts about an environment that hold for all its versions."""

    env_id: str
    """Gymnasium id without its version, such as 'HalfCheetah'; '*' matches any text."""
    reference: tuple[float, float] | None = None
    """(random, expert) returns, or None."""
    rtg_scale: float | None = None
    """Discounted return that RTG labels are divided by (DWM, appendix), or None for the best return of the data."""
    termination: Termination = unknown
    counts_success: bool = False
    """Whether the reward is 1 at the goal and 0 elsewhere, so that a positive return means success."""


LOCOMOTION = {
    "halfcheetah": EnvironmentInfo("HalfCheetah", (-280.178953, 12135.0), 1200.0, no_termination),
    "hopper": EnvironmentInfo("Hopper", (-20.272305, 3234.3), 400.0, hopper_fell),
    "walker2d": EnvironmentInfo("Walker2d", (1.629008, 4592.3), 550.0, walker2d_fell),
    "ant": EnvironmentInfo("Ant", (-325.6, 3879.7), 1000.0, ant_fell),
}
"""Environments of D4RL's MuJoCo files, by D4RL's name."""

OTHER_ENVIRONMENTS = (
    EnvironmentInfo("*-singletask*"),
    EnvironmentInfo("Humanoid", termination=humanoid_fell),
    EnvironmentInfo("PointMaze_*", termination=no_termination),
    EnvironmentInfo("AntMaze_*Dense", termination=no_termination),
    EnvironmentInfo("AntMaze_*", termination=no_termination, counts_success=True),
    EnvironmentInfo("AdroitHand*", termination=no_termination),
    EnvironmentInfo("maze2d-umaze", (23.85, 161.86), termination=no_termination),
    EnvironmentInfo("maze2d-medium", (13.13, 277.39), termination=no_termination),
    EnvironmentInfo("maze2d-large", (6.7, 273.99), termination=no_termination),
    EnvironmentInfo("antmaze-*", (0.0, 1.0)),
    EnvironmentInfo("pen-*", (96.262799, 3076.8331)),
    EnvironmentInfo("hammer-*", (-274.856578, 12794.134825)),
    EnvironmentInfo("door-*", (-56.512833, 2880.569309)),
    EnvironmentInfo("relocate-*", (-6.425911, 4233.877798)),
    EnvironmentInfo("kitchen-*", (0.0, 4.0)),
)
"""The first match applies. With Gymnasium's defaults, mazes continue at the goal up to the time limit. D4RL's own
antmaze and OGBench's single tasks end at the goal, which is not part of the observation, so their rule is unknown."""
NEUTRAL_KWARGS = {"continuing_task": True, "maze_map": None, "reset_target": None}
"""Keyword arguments that change neither rewards nor terminations -> value for which this holds (None: any)."""


@dataclass(frozen=True)
class MinariTask:
    """Task with a Minari dataset and an environment of gymnasium-robotics."""

    dataset: str
    env_id: str


MAZES = {"open": "Open", "umaze": "UMaze", "medium": "Medium", "large": "Large"}
ANT_MAZES = {
    "umaze": "UMaze",
    "umaze-diverse": "UMaze",
    "medium-play": "Medium",
    "medium-diverse": "Medium_Diverse_GR",
    "large-play": "Large",
    "large-diverse": "Large_Diverse_GR",
}
HANDS = ("pen", "hammer", "door", "relocate")

MINARI_TASKS = {
    **{f"maze2d-{n}": MinariTask(f"D4RL/pointmaze/{n}-v2", f"PointMaze_{m}-v3") for n, m in MAZES.items()},
    **{
        f"maze2d-{n}-dense": MinariTask(f"D4RL/pointmaze/{n}-dense-v2", f"PointMaze_{m}Dense-v3")
        for n, m in MAZES.items()
    },
    **{f"antmaze-{n}": MinariTask(f"D4RL/antmaze/{n}-v1", f"AntMaze_{m}-v4") for n, m in ANT_MAZES.items()},
    **{
        f"{hand}-{source}": MinariTask(f"D4RL/{hand}/{source}-v2", f"AdroitHand{hand.capitalize()}-v1")
        for hand in HANDS
        for source in ("human", "cloned", "expert")
    },
}
"""D4RL's task names -> Minari datasets recorded in, or converted to, Gymnasium's environments."""


@dataclass(frozen=True)
class TaskSpec:
    """Task: environment, termination rule and score. See `EnvironmentInfo` for the fields."""

    name: str
    env_id: str | None
    """Gymnasium id with version; None for data without an environment."""
    reference: tuple[float, float] | None
    rtg_scale: float
    termination: Termination
    counts_success: bool = False
    env_options: EnvOptions = REGISTERED

    @property
    def termination_known(self) -> bool:
        """Whether `termination` is the environment's rule; otherwise world models must learn when episodes end."""
        return self.termination is not unknown

    def score(self, episode_return: float) -> float:
        """Return the score of one episode in `score_unit`."""
        if self.counts_success:
            return 100.0 * (episode_return > 0)
        if self.reference is None:
            return episode_return
        low, high = self.reference
        return 100.0 * (episode_return - low) / (high - low)

    @property
    def score_unit(self) -> str:
        """Unit of scores: 'normalised score', 'success rate' or 'raw return'; `ESTIMATED` without an environment."""
        if self.env_id is None:
            return ESTIMATED
        if self.counts_success:
            return "success rate"
        return "raw return" if self.reference is None else "normalised score"


TASK_NAMES = (*(f"{name}-{quality}" for name in LOCOMOTION for quality in QUALITIES), *MINARI_TASKS)


def environment_info(env_id: str | None, options: EnvOptions = REGISTERED) -> EnvironmentInfo | None:
    """Return the facts about an id of any version, such as 'Hopper-v4', or None.

    They hold only for registered rewards and terminations, so the result is None if `options` may change these.
    """
    kwargs = json.loads(options.kwargs).items()
    is_neutral = all(key in NEUTRAL_KWARGS and NEUTRAL_KWARGS[key] in (None, value) for key, value in kwargs)
    if env_id is None or options.wrappers or not is_neutral:
        return None
    stem = env_id.rpartition(":")[2].rsplit("-v", 1)[0].lower()
    environments = (*LOCOMOTION.values(), *OTHER_ENVIRONMENTS)
    return next((info for info in environments if fnmatchcase(stem, info.env_id.lower())), None)


def check_name(name: str) -> None:
    """Raise ValueError with the nearest names unless `name` is a task of the table."""
    if name not in TASK_NAMES:
        raise ValueError(f"--task: unknown task {name!r}{suggest(name, list(TASK_NAMES))}")


def task_for(name: str, env_id: str | None, return_max: float, options: EnvOptions = REGISTERED) -> TaskSpec:
    """Return the task of a dataset with best return `return_max`, whose policies are scored in `env_id`.

    In an unknown environment, scores are raw returns, RTG labels are divided by `return_max` (by 1 if it is 0), and no
    imagined state ends an episode.
    """
    info = environment_info(env_id, options) or EnvironmentInfo(env_id or "")
    scale = info.rtg_scale or abs(return_max) or 1.0
    return TaskSpec(name, env_id, info.reference, scale, info.termination, info.counts_success, options)

"""The task table: what is known of an environment beyond its id, and which data a task's name means.

Reference scores, RTG scales and termination rules are facts of D4RL (arXiv 2004.07219), DWM (arXiv 2402.03570) and of
the environments' sources (Gymnasium 1.4, gymnasium-robotics 1.4.2). Rules read the raw next observation.

What is reported as a score:

    HalfCheetah, Hopper, Walker2d, Ant   D4RL's normalised score
    AntMaze_* with sparse rewards        success rate: share of episodes (in %) that reached the goal, as D4RL counts
    PointMaze_*, AdroitHand*, others     the raw return

PointMaze and AdroitHand succeed D4RL's maze2d and adroit environments with other goals, rewards and time limits: a new
goal in every episode instead of a fixed one, 200 steps of pen instead of 100. D4RL's references would give numbers
that look like its scores and are none, so they belong to D4RL's own ids ('maze2d-umaze-v1', 'pen-human-v1') alone. In a
PointMaze with sparse rewards the raw return is the number of steps at the goal.
"""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase

import torch
from torch import Tensor

from dwm_ray.errors import suggest
from dwm_ray.types import Termination

QUALITIES = ("random", "medium", "medium-replay", "medium-expert", "expert")


def never(obs: Tensor) -> Tensor:
    """Episodes end by truncation only."""
    return torch.zeros(obs.shape[:-1], dtype=torch.bool, device=obs.device)


def unknown(obs: Tensor) -> Tensor:
    """No rule is known: no imagined state ends an episode by rule. See `TaskSpec.termination_known`."""
    return never(obs)


def hopper_fell(obs: Tensor) -> Tensor:
    """Healthy while every entry but the first is within 100, height above .7 and |angle| below .2."""
    healthy = (obs[..., 1:].abs() < 100).all(-1) & (obs[..., 0] > 0.7) & (obs[..., 1].abs() < 0.2)
    return ~healthy


def walker2d_fell(obs: Tensor) -> Tensor:
    """Healthy while .8 < height < 2 and |angle| < 1."""
    healthy = (obs[..., 0] > 0.8) & (obs[..., 0] < 2.0) & (obs[..., 1].abs() < 1.0)
    return ~healthy


def ant_fell(obs: Tensor) -> Tensor:
    """Healthy while .2 <= height <= 1 and every entry is finite."""
    healthy = obs.isfinite().all(-1) & (obs[..., 0] >= 0.2) & (obs[..., 0] <= 1.0)
    return ~healthy


def humanoid_fell(obs: Tensor) -> Tensor:
    """Healthy while 1 < height < 2."""
    return ~((obs[..., 0] > 1.0) & (obs[..., 0] < 2.0))


@dataclass(frozen=True)
class Body:
    """What is known of an environment, whatever its version and whoever recorded it."""

    env: str
    """Gymnasium id without its version, such as 'HalfCheetah'; '*' stands for any text."""
    reference: tuple[float, float] | None = None
    """(random, expert) returns; None where there are none that fit."""
    rtg_scale: float | None = None
    """Discounted return that RTG labels are divided by (DWM, appendix), or None: the best return of the data."""
    termination: Termination = unknown
    counts_success: bool = False
    """Rewards are 0 and 1 at the goal, and an episode counts as a success once it was there."""


BODIES = {
    "halfcheetah": Body("HalfCheetah", (-280.178953, 12135.0), 1200.0, never),
    "hopper": Body("Hopper", (-20.272305, 3234.3), 400.0, hopper_fell),
    "walker2d": Body("Walker2d", (1.629008, 4592.3), 550.0, walker2d_fell),
    "ant": Body("Ant", (-325.6, 3879.7), 1000.0, ant_fell),
}
"""Bodies that D4RL's MuJoCo files are named after."""

OTHER_BODIES = (
    Body("Humanoid", termination=humanoid_fell),
    Body("PointMaze_*", termination=never),
    Body("AntMaze_*Dense", termination=never),
    Body("AntMaze_*", termination=never, counts_success=True),
    Body("AdroitHand*", termination=never),
    Body("maze2d-umaze", (23.85, 161.86), termination=never),
    Body("maze2d-medium", (13.13, 277.39), termination=never),
    Body("maze2d-large", (6.7, 273.99), termination=never),
    Body("antmaze-*", (0.0, 1.0), termination=never),
    Body("pen-*", (96.262799, 3076.8331)),
    Body("hammer-*", (-274.856578, 12794.134825)),
    Body("door-*", (-56.512833, 2880.569309)),
    Body("relocate-*", (-6.425911, 4233.877798)),
    Body("kitchen-*", (0.0, 4.0)),
)
"""The first that fits counts. Mazes are Gymnasium's as it makes them: they go on at the goal, up to the time limit."""


@dataclass(frozen=True)
class MinariTask:
    """A task whose data are a Minari set."""

    dataset: str
    env_id: str
    """The environment that the set names; of gymnasium-robotics."""


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
"""D4RL's names of tasks -> sets that Minari recorded anew in, or converted for, Gymnasium's environments."""


@dataclass(frozen=True)
class TaskSpec:
    """A task: an environment, its data, how they are scored."""

    name: str
    env_id: str
    """Gymnasium id with version; taken from the data where they name it."""
    reference: tuple[float, float] | None
    """(random, expert) returns, or None."""
    rtg_scale: float
    termination: Termination
    counts_success: bool = False
    """An episode scores 100 where its return is above 0, else 0."""

    @property
    def termination_known(self) -> bool:
        """`termination` is the environment's rule ('never' is one); False where none is known and a model has to learn
        when episodes end."""
        return self.termination is not unknown

    def score(self, episode_return: float) -> float:
        """Score of one episode in `score_unit`; the mean over episodes is a mean of these."""
        if self.counts_success:
            return 100.0 * (episode_return > 0)
        if self.reference is None:
            return episode_return
        low, high = self.reference
        return 100.0 * (episode_return - low) / (high - low)

    @property
    def score_unit(self) -> str:
        if self.counts_success:
            return "success rate"
        return "raw return" if self.reference is None else "normalised score"


TASK_NAMES = (*(f"{body}-{quality}" for body in BODIES for quality in QUALITIES), *MINARI_TASKS)


def body_of(env_id: str) -> Body | None:
    """The body simulated by an environment id, such as 'Hopper-v4'."""
    stem = env_id.rsplit("-v", 1)[0].lower()
    return next((body for body in (*BODIES.values(), *OTHER_BODIES) if fnmatchcase(stem, body.env.lower())), None)


def check_name(name: str) -> None:
    """ValueError with the nearest names unless `name` is a row of the table."""
    if name not in TASK_NAMES:
        raise ValueError(f"--task: unknown task {name!r}{suggest(name, list(TASK_NAMES))}")


def task_for(name: str, env_id: str, return_max: float) -> TaskSpec:
    """The task of a data set recorded in `env_id`, whose best return is `return_max`.

    An unknown environment is scored by raw returns, its RTG labels are divided by `return_max` (by 1 where that is 0),
    and no imagined state ends its episodes.
    """
    body = body_of(env_id) or Body(env_id)
    scale = body.rtg_scale or abs(return_max) or 1.0
    return TaskSpec(name, env_id, body.reference, scale, body.termination, body.counts_success)

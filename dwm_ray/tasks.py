"""The task table: what is known of an environment beyond its id.

Reference scores, RTG scales and termination rules are facts of D4RL (arXiv 2004.07219), DWM (arXiv 2402.03570) and
Gymnasium's MuJoCo environments. Rules read the raw next observation.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from dwm_ray.registry import suggest
from dwm_ray.types import Termination

QUALITIES = ("random", "medium", "medium-replay", "medium-expert", "expert")


def never(obs: Tensor) -> Tensor:
    """Episodes end by truncation only."""
    return torch.zeros(obs.shape[:-1], dtype=torch.bool, device=obs.device)


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


@dataclass(frozen=True)
class Body:
    """A simulated robot; every data quality of it shares these facts."""

    env: str
    """Gymnasium id without its version, such as 'HalfCheetah'."""
    random_score: float
    expert_score: float
    rtg_scale: float
    """Discounted return that RTG labels are divided by (DWM, appendix)."""
    termination: Termination


BODIES = {
    "halfcheetah": Body("HalfCheetah", -280.178953, 12135.0, 1200.0, never),
    "hopper": Body("Hopper", -20.272305, 3234.3, 400.0, hopper_fell),
    "walker2d": Body("Walker2d", 1.629008, 4592.3, 550.0, walker2d_fell),
    "ant": Body("Ant", -325.6, 3879.7, 1000.0, ant_fell),
}


@dataclass(frozen=True)
class TaskSpec:
    """A task: an environment, its data, how they are scored."""

    name: str
    env_id: str
    """Gymnasium id with version; taken from the data where they name it."""
    reference: tuple[float, float] | None
    """(random, expert) returns, or None: scores are then raw returns."""
    rtg_scale: float
    termination: Termination

    def score(self, episode_return: float) -> float:
        """D4RL-normalised score, or the raw return without reference values."""
        if self.reference is None:
            return episode_return
        low, high = self.reference
        return 100.0 * (episode_return - low) / (high - low)

    @property
    def score_unit(self) -> str:
        return "raw return" if self.reference is None else "normalised score"


TASK_NAMES = tuple(f"{body}-{quality}" for body in BODIES for quality in QUALITIES)


def body_of(env_id: str) -> Body | None:
    """The body simulated by an environment id, such as 'Hopper-v4'."""
    stem = env_id.rsplit("-v", 1)[0].lower()
    return next((body for body in BODIES.values() if body.env.lower() == stem), None)


def check_name(name: str) -> None:
    """ValueError with the nearest names unless `name` is a row of the table."""
    if name not in TASK_NAMES:
        raise ValueError(f"--task: unknown task {name!r}{suggest(name, list(TASK_NAMES))}")


def task_for(name: str, env_id: str, return_max: float) -> TaskSpec:
    """The task of a data set recorded in `env_id`. An unknown environment is scored by raw returns, its RTG labels are
    divided by the largest return of the data, and no imagined state ends its episodes."""
    body = body_of(env_id)
    if body is None:
        return TaskSpec(name, env_id, None, max(abs(return_max), 1e-6), never)
    return TaskSpec(name, env_id, (body.random_score, body.expert_score), body.rtg_scale, body.termination)

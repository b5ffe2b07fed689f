"""Are a segment's steps possible? Set the simulator to s_i, take a_i once, compare (r_i, s_{i+1}) with what it says.

This is the acceptance check of DAWM (arXiv 2509.19538) and the one measure in which models that see the later actions,
infer them or make them up can be set side by side: the behaviour's randomness, which is most of `model_error` for
models that do not know the actions, is no part of it. Each step is judged by itself, from the segment's own state, so
errors do not add up over the steps. Recorded transitions give the floor: float32 rounding of the recording, and for the
Ant's reward a little more, because it is measured from a position that lags one substep behind the state.

MuJoCo's walking robots show their whole state but the position on the plane, on which nothing depends. Hopper and
Walker2d show velocities clipped to +-10: steps that begin at a clipped value are left out, because the true one is not
known. So are steps after the task's end, and those that make the simulator unstable; `steps_checked` says what is left.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import mujoco
import numpy as np

from dwm_ray.evaluation.model_error import UNIT
from dwm_ray.tasks.environments import make_environment
from dwm_ray.tasks.table import body_of
from dwm_ray.types import Segments, Windows

HIDDEN_POSITIONS = {"HalfCheetah": 1, "Hopper": 1, "Walker2d": 1, "Ant": 2}
"""Leading coordinates of the simulator that an observation leaves out."""
CLIPPED_SPEED = {"Hopper": 10.0, "Walker2d": 10.0}
"""Largest velocity that an observation shows."""


@dataclass(frozen=True)
class SimulatorError:
    """By step 1..M: squared distances of `UNIT` between segments and simulator. Not a number where none was checked."""

    env_id: str
    steps_checked: list[int]
    obs_mse: list[float]
    rew_mse: list[float]
    obs_median: list[float]
    """Median over transitions of the root mean square over dimensions: contacts give the mean a long tail."""

    def to_json(self) -> dict[str, Any]:
        return {
            "env_id": self.env_id,
            "unit": UNIT,
            "steps": list(range(1, len(self.obs_mse) + 1)),
            "steps_checked": self.steps_checked,
            "obs_mse": _known(self.obs_mse),
            "rew_mse": _known(self.rew_mse),
            "obs_rms": _known(np.sqrt(self.obs_mse).tolist()),
            "rew_rms": _known(np.sqrt(self.rew_mse).tolist()),
            "obs_median": _known(self.obs_median),
        }


def _known(values: list[float]) -> list[float | None]:
    """JSON has no word for what is not a number."""
    return [None if np.isnan(value) else value for value in values]


def simulator_error(segments: Segments, env_id: str, obs_std: np.ndarray, rew_std: float) -> SimulatorError:
    """Check every step that has its action: all of them, or the first one for models that know one action only.

    Raw segments; `obs_std` [O]. A few thousand steps a second. ValueError for an environment whose state cannot be set
    from an observation, or whose observations are of another size.
    """
    simulator = Simulator(env_id)
    if segments.obs.shape[2] != simulator.obs_size:
        raise ValueError(f"simulator check: {env_id} shows {simulator.obs_size} numbers, not {segments.obs.shape[2]}")
    num_steps = segments.act.shape[1]
    ended = (segments.discount == 0).cpu().numpy()
    obs, act, rew = (part.double().cpu().numpy() for part in (segments.obs, segments.act, segments.rew))
    scale = np.where(obs_std > 1e-6, obs_std, np.inf)  # a dimension that never varies has no unit: it counts as 0
    columns = []
    for step in range(num_steps):
        alive = ~ended[:, :step].any(1)
        rows = zip(obs[alive, step], act[alive, step], obs[alive, step + 1], rew[alive, step], strict=True)
        columns.append(_column([simulator.gap(*row) for row in rows], scale, rew_std))
    return SimulatorError(env_id, *(list(part) for part in zip(*columns, strict=True)))


def _column(
    gaps: list[tuple[np.ndarray, float] | None], scale: np.ndarray, rew_std: float
) -> tuple[int, float, float, float]:
    """(checked, mean squared state error, reward error, median state error) of one step."""
    known = [gap for gap in gaps if gap is not None]
    if not known:
        return 0, float("nan"), float("nan"), float("nan")
    squares = np.square([gap / scale for gap, _ in known]).mean(1)
    rew_mse = np.square([gap / rew_std for _, gap in known]).mean()
    return len(known), float(squares.mean()), float(rew_mse), float(np.median(np.sqrt(squares)))


class Simulator:
    """One environment that can be set to any observation."""

    def __init__(self, env_id: str) -> None:
        body = body_of(env_id)
        if body is None or body.env not in HIDDEN_POSITIONS or not env_id.endswith(("-v4", "-v5")):
            raise ValueError(
                f"simulator check: the state of {env_id} cannot be set from an observation; it can be for "
                f"{', '.join(HIDDEN_POSITIONS)} in -v4 and -v5"
            )
        self._env: Any = make_environment(env_id).unwrapped
        self._hidden = HIDDEN_POSITIONS[body.env]
        self._top_speed = CLIPPED_SPEED.get(body.env, np.inf)
        self._env.reset(seed=0)
        self.obs_size = self._env.observation_space.shape[0]

    def gap(
        self, obs: np.ndarray, act: np.ndarray, next_obs: np.ndarray, rew: float
    ) -> tuple[np.ndarray, float] | None:
        """(next state [O], reward) minus the simulator's; None where it has none."""
        followed = self.step(obs, act)
        return None if followed is None else (next_obs - followed[0], rew - followed[1])

    def step(self, obs: np.ndarray, act: np.ndarray) -> tuple[np.ndarray, float] | None:
        """(next state [O], reward) of an action [A] in a state [O]; None where the state is not fully known or the
        simulator becomes unstable."""
        num_positions, num_speeds = self._env.model.nq, self._env.model.nv
        positions, rest = np.split(obs, [num_positions - self._hidden])
        speeds = rest[:num_speeds]
        if not np.isfinite(obs).all() or (np.abs(speeds) >= self._top_speed).any():
            return None
        mujoco.mj_resetData(self._env.model, self._env.data)  # the solver remembers the row before, and its warnings
        self._env.set_state(np.concatenate([np.zeros(self._hidden), positions]), speeds)
        with _complaints() as unstable:
            next_obs, rew, *_ = self._env.step(act)
        return None if unstable else (next_obs, float(rew))  # MuJoCo goes back to its first state by itself


@contextmanager
def _complaints() -> Iterator[list[str]]:
    """What MuJoCo warns of, which otherwise goes to a file in the working directory."""
    before = mujoco.get_mju_user_warning()
    heard: list[str] = []
    mujoco.set_mju_user_warning(heard.append)
    try:
        yield heard
    finally:
        mujoco.set_mju_user_warning(before)


def recorded_segments(windows: Windows) -> Segments:
    """Recorded windows as segments of T - 1 steps with all their actions; those cut by an episode's end are left out.
    The floor of the check, and with inferred actions (`DAWM.with_actions`) the part that inverse dynamics adds."""
    whole = windows.obs_mask.all(1) & windows.step_mask[:, :-1].all(1)
    rew = windows.rew[whole, :-1]
    return Segments(
        obs=windows.obs[whole],
        act=windows.act[whole, :-1],
        rew=rew,
        discount=1 - windows.terminated[whole, :-1].to(rew.dtype),
        penalty=rew.new_zeros(rew.shape),
        source=rew.new_zeros(len(rew)),
    )

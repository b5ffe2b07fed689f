"""Compare the steps of segments with the simulator: set it to s_i, apply a_i, compare (r_i, s_{i+1}) with its result.

This is the acceptance check of DAWM (arXiv 2509.19538). It is comparable between models that receive, infer or generate
the later actions, because it excludes the randomness of the behaviour policy, which dominates `model_error` for models
without the actions. Each step starts from the segment's own state, so errors do not accumulate. Recorded transitions
give the floor: float32 rounding of the recording, and slightly more for the Ant's reward, which is measured from a
position that lags one substep behind the state.

Observations of MuJoCo's walking robots contain the whole state except the position on the plane, on which nothing
depends. Hopper and Walker2d clip observed velocities to +-10: steps that start at a clipped value are skipped, because
the true one is unknown. Steps after the end of the task and steps that make the simulator unstable are skipped too.
`steps_checked` counts the remaining steps.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import mujoco
import numpy as np
import torch
from torch import Tensor

from dwm_ray.env_options import REGISTERED, EnvOptions
from dwm_ray.evaluation.model_error import UNIT, units
from dwm_ray.tasks.environments import make_environment
from dwm_ray.tasks.table import environment_info
from dwm_ray.types import Json, Policy, Segments, Windows

HIDDEN_POSITIONS = {"HalfCheetah": 1, "Hopper": 1, "Walker2d": 1, "Ant": 2}
"""Number of leading simulator coordinates that are missing in an observation."""
CLIPPED_SPEED = {"Hopper": 10.0, "Walker2d": 10.0}
"""Bound to which observed velocities are clipped."""


def simulator_error(segments: Segments, env_id: str | None, obs_std: np.ndarray, rew_std: float) -> Json:
    """Check every step of raw segments whose action is known; `obs_std` is [O]. A few thousand steps per second.

    The result has squared distances (of `UNIT`) between segments and simulator per step 1..M, or None where no step was
    checked. obs_median is the median over transitions of the root mean square over dimensions, because contacts make
    the mean heavy-tailed.

    Raises ValueError if the environment's state cannot be set from an observation or observations differ in size.
    """
    simulator = Simulator(env_id)
    if segments.obs.shape[2] != simulator.obs_size:
        raise ValueError(
            f"simulator check: observations have size {segments.obs.shape[2]}; "
            f"expected {simulator.obs_size} as in {env_id}"
        )
    ended = (segments.discount == 0).cpu().numpy()
    obs, act, rew = (array.double().cpu().numpy() for array in (segments.obs, segments.act, segments.rew))
    columns, scale = [], units(obs_std)
    for step in range(act.shape[1]):
        alive = ~ended[:, :step].any(1)
        next_obs, next_rew, valid = simulator.steps(obs[alive, step], act[alive, step])
        obs_gap, rew_gap = (obs[alive, step + 1] - next_obs)[valid], (rew[alive, step] - next_rew)[valid]
        columns.append(_column(np.square(obs_gap / scale).mean(1), np.square(rew_gap / rew_std)))
    names = ("steps_checked", "obs_mse", "rew_mse", "obs_median")
    errors = dict(zip(names, map(list, zip(*columns, strict=True)), strict=True))
    return {"env_id": env_id, "unit": UNIT, "steps": list(range(1, len(columns) + 1)), **errors}


def _column(obs_squares: np.ndarray, rew_squares: np.ndarray) -> tuple[int, float | None, float | None, float | None]:
    """Return (checked steps, mean squared state error, reward error, median state error) of one step."""
    if not len(obs_squares):
        return 0, None, None, None
    median = float(np.median(np.sqrt(obs_squares)))
    return len(obs_squares), float(obs_squares.mean()), float(rew_squares.mean()), median


def simulated(env_id: str | None, obs: Tensor, act: Tensor, policy: Policy, horizon: int) -> tuple[Segments, Tensor]:
    """Roll out a policy in the simulator from raw pairs [B, O] and [B, A], as a perfect world model would.

    With a cloned behaviour policy, the distance of these segments from the recorded futures is due to the randomness of
    that policy and the error of the clone: a lower bound for every model that does not see the actions.

    Returns segments of `horizon` steps with discounts 1 and the mask [B] of the valid rows, which contain no invalid
    step (see `Simulator.step`). Raises ValueError if the environment's state cannot be set from an observation.
    """
    simulator = Simulator(env_id)
    valid = torch.ones(len(obs), dtype=torch.bool, device=obs.device)
    states, actions, rews = [obs], [act], []
    for step in range(horizon):
        if step > 0:
            actions.append(policy(states[-1], step))
        outputs = simulator.steps(*(x.double().cpu().numpy() for x in (states[-1], actions[-1])))
        next_obs, rew, is_valid = (torch.from_numpy(x) for x in outputs)
        valid &= is_valid.to(valid)
        states.append(next_obs.to(obs))
        rews.append(rew.to(obs))
    rew = torch.stack(rews, 1)
    zeros = torch.zeros_like(rew)
    segments = Segments(torch.stack(states, 1), torch.stack(actions, 1), rew, zeros + 1, zeros, zeros[:, 0] + 1)
    return segments, valid


class Simulator:
    """Environment that can be set to any observation."""

    def __init__(self, env_id: str | None, options: EnvOptions = REGISTERED) -> None:
        info = environment_info(env_id, options)
        settable = info is not None and info.env_id in HIDDEN_POSITIONS
        if env_id is None or info is None or not settable or not env_id.endswith(("-v4", "-v5")):
            raise ValueError(
                f"simulator check: the state of {env_id or 'no environment'} cannot be set from an observation; "
                f"expected {', '.join(HIDDEN_POSITIONS)} in -v4 or -v5, as they are registered"
            )
        self._env: Any = make_environment(env_id).unwrapped
        self._hidden = HIDDEN_POSITIONS[info.env_id]
        self._top_speed = CLIPPED_SPEED.get(info.env_id, np.inf)
        self._env.reset(seed=0)
        self.obs_size = self._env.observation_space.shape[0]

    def steps(self, obs: np.ndarray, act: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return next states [B, O], rewards [B] and the mask [B] of valid rows; invalid rows are 0."""
        next_obs, rew, valid = np.zeros_like(obs), np.zeros(len(obs)), np.zeros(len(obs), bool)
        for row in range(len(obs)):
            result = self.step(obs[row], act[row])
            if result is not None:
                (next_obs[row], rew[row]), valid[row] = result, True
        return next_obs, rew, valid

    def step(self, obs: np.ndarray, act: np.ndarray) -> tuple[np.ndarray, float] | None:
        """Return (next state [O], reward) of an action [A] in a state [O]; None if unknown or unstable."""
        num_positions, num_speeds = self._env.model.nq, self._env.model.nv
        positions, velocities = np.split(obs, [num_positions - self._hidden])
        speeds = velocities[:num_speeds]
        if not np.isfinite(obs).all() or (np.abs(speeds) >= self._top_speed).any():
            return None
        mujoco.mj_resetData(self._env.model, self._env.data)  # the solver retains the previous row and its warnings
        self._env.set_state(np.concatenate([np.zeros(self._hidden), positions]), speeds)
        with _mujoco_warnings() as unstable:
            next_obs, rew, *_ = self._env.step(act)
        return None if unstable else (next_obs, float(rew))  # MuJoCo then resets itself


@contextmanager
def _mujoco_warnings() -> Iterator[list[str]]:
    """Collect MuJoCo's warnings, which otherwise go to a file in the working directory."""
    before = mujoco.get_mju_user_warning()
    collected: list[str] = []
    mujoco.set_mju_user_warning(collected.append)
    try:
        yield collected
    finally:
        mujoco.set_mju_user_warning(before)


def recorded_segments(windows: Windows) -> Segments:
    """Return complete windows as segments of T - 1 steps with all actions, which give the floor of the check."""
    complete = windows.obs_mask.all(1) & windows.step_mask[:, :-1].all(1)
    rew = windows.rew[complete, :-1]
    return Segments(
        obs=windows.obs[complete],
        act=windows.act[complete, :-1],
        rew=rew,
        discount=1 - windows.terminated[complete, :-1].to(rew.dtype),
        penalty=rew.new_zeros(rew.shape),
        source=rew.new_zeros(len(rew)),
    )

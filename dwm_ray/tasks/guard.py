"""Checks of user-provided environments: actions within bounds, and one line per fault.

A user's environment may raise any exception at any step. `GuardedEnvironment` turns it into one class, so that programs
end with one line and exit code 1, and trials keep their checkpoints.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import gymnasium
import numpy as np

from dwm_ray.errors import one_line
from dwm_ray.runs.folder import RunFailed


class BrokenEnvironmentError(RunFailed):
    """Fault of an environment: it raised an exception or returned an invalid value."""


@contextmanager
def fault_of(env_id: str, call: str, exclude: tuple[type[Exception], ...] = ()) -> Iterator[None]:
    """Raise BrokenEnvironmentError, naming id and call, for all exceptions except those of the types `exclude`."""
    try:
        yield
    except (Exception, SystemExit) as error:  # user code may raise anything, and call sys.exit
        if isinstance(error, (BrokenEnvironmentError, *exclude)):
            raise
        message = one_line(error)
        raise BrokenEnvironmentError(
            f"environment {env_id!r}: {call} failed: {type(error).__name__}{': ' if message else ''}{message}"
        ) from error


class GuardedEnvironment(gymnasium.Wrapper):
    """Wrapper that clips actions to the bounds and checks everything that the environment returns.

    Actions are first rounded to the environment's type, because rounding could exceed the bounds.
    """

    def __init__(self, env: gymnasium.Env, env_id: str) -> None:
        super().__init__(env)
        self._env_id, self._steps = env_id, 0
        space: Any = env.action_space
        self.action_space, self.observation_space = space, env.observation_space  # OGBench builds them at every access
        self._low, self._high, self._is_int = space.low, space.high, space.dtype.kind in "iu"

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        self._steps = 0
        with fault_of(self._env_id, "reset"):
            obs, info = self._checked_tuple(self.env.reset(seed=seed, options=options), 2, "reset")
            self._check(obs, "reset")
        return obs, info

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self._steps += 1
        call = f"step {self._steps}"
        with fault_of(self._env_id, call):
            rounded = (np.rint(action) if self._is_int else np.asarray(action)).astype(self._low.dtype)
            result = self.env.step(np.clip(rounded, self._low, self._high))
            obs, reward, terminated, truncated, info = self._checked_tuple(result, 5, call)
            reward = float(np.asarray(reward).item())
            if not math.isfinite(reward):
                raise self._fault(call, f"reward {reward}; expected a finite number")
            self._check(obs, call, ended=bool(terminated))
        return obs, reward, bool(terminated), bool(truncated), info

    def close(self) -> None:
        with fault_of(self._env_id, "close"):
            super().close()

    def _checked_tuple(self, result: Any, count: int, call: str) -> tuple[Any, ...]:
        """Return the result of a call if it conforms to Gymnasium's interface; older interfaces return other tuples."""
        if not isinstance(result, tuple) or len(result) != count:
            size = f" of {len(result)}" if isinstance(result, tuple) else ""
            raise self._fault(call, f"a {type(result).__name__}{size}; expected a tuple of {count}, as in Gymnasium")
        return result

    def _check(self, obs: Any, call: str, ended: bool = False) -> None:
        """Raise BrokenEnvironmentError for other shapes, and for NaN or infinity unless the episode has ended."""
        expected = self.observation_space.shape
        if np.shape(obs) != expected:
            raise self._fault(call, f"an observation of shape {np.shape(obs)}; expected {expected}")
        if not ended and not np.isfinite(obs).all():
            raise self._fault(call, "an observation with NaN or infinite entries; expected finite numbers")

    def _fault(self, call: str, description: str) -> BrokenEnvironmentError:
        return BrokenEnvironmentError(f"environment {self._env_id!r}: {call} returned {description}")

"""Environments with the faults that users' own environments have; importing this module registers them."""

from pathlib import Path
from typing import Any, ClassVar

import gymnasium
import numpy as np
from gymnasium.spaces import Box


class Robot(gymnasium.Env):
    """Point that actions move; its upper action bound is no float32 number."""

    observation_space = Box(-10, 10, (2,), np.float32)
    action_space = Box(-1.9, 0.1, (1,), np.float64)

    def __init__(self, speed: float = 0.1) -> None:
        self.speed = speed

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.state = self.np_random.uniform(-1, 1, 2).astype(np.float32)
        return self.state.copy(), {}

    def step(self, action: Any) -> Any:
        self.state = np.clip(self.state + self.speed * action, -10, 10).astype(np.float32)
        return self.state.copy(), float(-np.abs(self.state).sum()), False, False, {}


class Strict(Robot):
    def step(self, action: Any) -> Any:
        assert self.action_space.contains(action), f"{action!r} is outside"
        return super().step(action)


class OldInterface(Robot):
    def reset(self) -> Any:  # type: ignore[override]
        return np.zeros(2, np.float32)


class ArrayOnly(Robot):
    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        return super().reset(seed=seed)[0]


class FourValues(Robot):
    def step(self, action: Any) -> Any:
        return super().step(action)[1:]


class NoDisplay(Robot):
    def __init__(self) -> None:
        raise RuntimeError("cannot open display")


class NoFile(Robot):
    def __init__(self) -> None:
        Path("/nowhere/robot.xml").read_text()


class FixedActuator(Robot):
    action_space = Box(np.array([-1, 0], np.float32), np.array([1, 0], np.float32))


class NanReward(Robot):
    def step(self, action: Any) -> Any:
        obs, _, *rest = super().step(action)
        return obs, float("nan"), *rest


class NanObservation(Robot):
    def step(self, action: Any) -> Any:
        obs, *rest = super().step(action)
        return obs * np.nan, *rest


class Crashes(Robot):
    def step(self, action: Any) -> Any:
        raise RuntimeError("simulator became\nunstable")


class Exits(Robot):
    def step(self, action: Any) -> Any:
        raise SystemExit("no licence")


class CrashesLater(Robot):
    """Fails when all environments together have made more than `patience` steps."""

    patience: ClassVar[int] = 10**9

    def step(self, action: Any) -> Any:
        CrashesLater.patience -= 1
        if CrashesLater.patience < 0:
            raise RuntimeError("simulator became unstable")
        return super().step(action)


class Integers(Robot):
    action_space = Box(-3, 2, (1,), np.int64)

    def step(self, action: Any) -> Any:
        assert self.action_space.contains(action), f"{action!r} is outside"
        return super().step(action)


ROBOTS = (
    Robot,
    Strict,
    OldInterface,
    ArrayOnly,
    FourValues,
    NoDisplay,
    NoFile,
    FixedActuator,
    NanReward,
    NanObservation,
    Crashes,
    Exits,
    CrashesLater,
    Integers,
)
for robot in ROBOTS:
    gymnasium.register(f"{robot.__name__}-v0", f"odd_robots:{robot.__name__}", max_episode_steps=20)
gymnasium.register("Endless-v0", "odd_robots:Robot")
gymnasium.register("Marathon-v0", "odd_robots:Robot", max_episode_steps=10**6)

"""Evaluate a policy in its environment; every episode counts once, whatever its length.

Up to 16 environments run in parallel, and one call of the policy per step serves all of them. An environment whose
episode ended starts the next one immediately, or leaves the batch if none is left. Gymnasium's SyncVectorEnv would
continue to step finished environments (autoreset), and their steps would have to be masked.

The time of the policy is measured, because methods that plan at every step move cost from training to evaluation.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

import gymnasium
import numpy as np
import torch
from torch import Tensor

from dwm_ray.env_options import REGISTERED, EnvOptions
from dwm_ray.tasks.environments import make_environment

MAX_ENVIRONMENTS = 16


@dataclass(frozen=True)
class Evaluation:
    """Raw results of E episodes; episode i was reset with seed + i."""

    returns: np.ndarray  # [E] float64, undiscounted
    lengths: np.ndarray  # [E] int64, environment steps
    policy_s: float
    """Seconds of all calls of the policy, including copies to and from its device, excluding the environments."""

    @property
    def policy_ms(self) -> float:
        """Milliseconds of the policy per environment step.

        The time of a call is divided among the episodes that run in parallel (at most 16), so compare this only between
        evaluations of equally many episodes.
        """
        return 1000 * self.policy_s / int(self.lengths.sum())


def evaluate(
    policy: Callable[[Tensor], Tensor],
    env_id: str,
    num_episodes: int,
    seed: int,
    device: torch.device | str = "cpu",
    env_options: EnvOptions = REGISTERED,
) -> Evaluation:
    """Run `num_episodes` episodes of a policy, raw observations [B, O] float32 on `device` -> actions [B, A].

    B is at most 16 and decreases at the end. Raises ValueError if the environment cannot be created or the count is not
    positive, Diverged if the policy's actions are not finite, and BrokenEnvironmentError if the environment fails.
    """
    if num_episodes < 1:
        raise ValueError(f"evaluation.num_episodes: is {num_episodes}; expected at least 1")
    envs: list[gymnasium.Env] = []
    try:
        for _ in range(min(num_episodes, MAX_ENVIRONMENTS)):
            envs.append(make_environment(env_id, env_options))
        timed = _TimedPolicy(policy, device)
        returns, lengths = _run(timed, envs, num_episodes, seed)
        return Evaluation(returns, lengths, timed.seconds)
    finally:
        for env in envs:
            env.close()


@dataclass
class _Slot:
    """One environment and its current episode."""

    env: gymnasium.Env
    episode: int
    obs: np.ndarray


class Diverged(ValueError):  # noqa: N818 - it names what happened
    """A policy's actions are infinite or NaN."""

    def __init__(self) -> None:
        super().__init__("policy: actions are not finite, so the agent has diverged; expected finite actions")


class _TimedPolicy:
    """A policy on arrays that measures the seconds of its calls; reading the actions synchronises with the device."""

    def __init__(self, policy: Callable[[Tensor], Tensor], device: torch.device | str) -> None:
        self.seconds = 0.0
        self._policy, self._device = policy, device

    @torch.no_grad()
    def __call__(self, obs: np.ndarray) -> np.ndarray:
        """Return actions [B, A] for observations [B, O]; raise Diverged if they are not finite."""
        start = time.perf_counter()
        actions = self._policy(torch.from_numpy(obs).to(self._device, torch.float32)).cpu().numpy()
        self.seconds += time.perf_counter() - start
        if not np.isfinite(actions).all():
            raise Diverged
        return actions


def _run(
    policy: Callable[[np.ndarray], np.ndarray], envs: list[gymnasium.Env], num_episodes: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the returns [E] and lengths [E] of all episodes."""
    returns, lengths = np.zeros(num_episodes, np.float64), np.zeros(num_episodes, np.int64)
    slots = [_Slot(env, i, env.reset(seed=seed + i)[0]) for i, env in enumerate(envs)]
    num_started = len(slots)
    while slots:
        for slot, act in zip(slots, policy(np.stack([slot.obs for slot in slots])), strict=True):
            slot.obs, reward, terminated, truncated, _ = slot.env.step(act)
            returns[slot.episode] += float(reward)
            lengths[slot.episode] += 1
            if not (terminated or truncated):
                continue
            slot.episode, num_started = num_started, num_started + 1
            if slot.episode < num_episodes:
                slot.obs = slot.env.reset(seed=seed + slot.episode)[0]
        slots = [slot for slot in slots if slot.episode < num_episodes]
    return returns, lengths

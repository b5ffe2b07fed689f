"""Score a policy in its environment: every episode counts once, whatever its length.

Up to 16 environments run side by side, so that the policy is called once per step for all of them. An environment
whose episode ended starts the next one at once, or leaves the batch when none is left. This loop takes the place of
gymnasium's SyncVectorEnv, which steps finished environments on (autoreset) and would need their steps masked out.

The policy's own time is measured: methods that plan at every step pay here what others paid in training.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import gymnasium
import numpy as np
import torch
from torch import Tensor

from dwm_ray.tasks.environments import make_environment

MAX_ENVIRONMENTS = 16

OnEpisode = Callable[[int, float], None]
"""(episodes finished so far, return of this one): progress of an evaluation."""


@dataclass(frozen=True)
class Evaluation:
    """Raw outcome of E episodes; episode i was reset with seed + i."""

    returns: np.ndarray  # [E] float64, undiscounted
    lengths: np.ndarray  # [E] int64, environment steps
    policy_s: float
    """Seconds of all calls of the policy, copies to and from its device included, the environments' time excluded."""

    @property
    def policy_ms(self) -> float:
        """Milliseconds of the policy per environment step. A call serves all episodes that run side by side (16 at
        most) and its time is divided among them: set this only beside evaluations of as many episodes."""
        return 1000 * self.policy_s / int(self.lengths.sum())


def evaluate(
    policy: Callable[[Tensor], Tensor],
    env_id: str,
    num_episodes: int,
    seed: int,
    on_episode: OnEpisode | None = None,
    device: torch.device | str = "cpu",
) -> Evaluation:
    """Run `num_episodes` episodes of a policy, raw observations [B, O] float32 on `device` -> actions [B, A].

    B is at most 16 and shrinks towards the end. ValueError where the environment cannot be made or the count is not
    positive, or the policy's actions are not finite.
    """
    if num_episodes < 1:
        raise ValueError(f"evaluation.num_episodes is {num_episodes}, expected at least 1")
    envs: list[gymnasium.Env] = []
    try:
        for _ in range(min(num_episodes, MAX_ENVIRONMENTS)):
            envs.append(make_environment(env_id))
        timed = _TimedPolicy(policy, device)
        returns, lengths = _run(timed, envs, num_episodes, seed, on_episode or _ignore)
        return Evaluation(returns, lengths, timed.seconds)
    finally:
        for env in envs:
            env.close()


@dataclass
class _Lane:
    """One environment and the episode that it is playing."""

    env: gymnasium.Env
    episode: int
    obs: np.ndarray


class _TimedPolicy:
    """A policy on arrays, with the seconds that its calls took. Reading the actions waits for its device."""

    def __init__(self, policy: Callable[[Tensor], Tensor], device: torch.device | str) -> None:
        self.seconds = 0.0
        self._policy, self._device = policy, device

    @torch.no_grad()
    def __call__(self, obs: np.ndarray) -> np.ndarray:
        """Observations [B, O] -> actions [B, A]. ValueError where they are not finite."""
        started = time.perf_counter()
        actions = self._policy(torch.from_numpy(obs).to(self._device, torch.float32)).cpu().numpy()
        self.seconds += time.perf_counter() - started
        if not np.isfinite(actions).all():
            raise ValueError("the policy gave actions that are not finite: the agent has diverged")
        return actions


def _run(
    policy: Callable[[np.ndarray], np.ndarray],
    envs: list[gymnasium.Env],
    num_episodes: int,
    seed: int,
    on_episode: OnEpisode,
) -> tuple[np.ndarray, np.ndarray]:
    """Returns [E] and lengths [E]."""
    returns, lengths = np.zeros(num_episodes, np.float64), np.zeros(num_episodes, np.int64)
    lanes = [_Lane(env, i, env.reset(seed=seed + i)[0]) for i, env in enumerate(envs)]
    started, finished = len(lanes), 0
    while lanes:
        for lane, act in zip(lanes, policy(np.stack([lane.obs for lane in lanes])), strict=True):
            lane.obs, reward, terminated, truncated, _ = lane.env.step(act)
            returns[lane.episode] += float(reward)
            lengths[lane.episode] += 1
            if not (terminated or truncated):
                continue
            finished += 1
            on_episode(finished, float(returns[lane.episode]))
            lane.episode, started = started, started + 1
            if lane.episode < num_episodes:
                lane.obs = lane.env.reset(seed=seed + lane.episode)[0]
        lanes = [lane for lane in lanes if lane.episode < num_episodes]
    return returns, lengths


def _ignore(finished: int, episode_return: float) -> None:
    """No one watches."""

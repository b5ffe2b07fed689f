"""Score a policy in its environment: every episode counts once, whatever its length.

Up to 16 environments run side by side, so that the policy is called once per step for all of them. An environment
whose episode ended starts the next one at once, or leaves the batch when none is left. This loop takes the place of
gymnasium's SyncVectorEnv, which steps finished environments on (autoreset) and would need their steps masked out.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import gymnasium
import numpy as np
import torch
from torch import Tensor

from dwm_ray.evaluation.environment import flat_environment

MAX_ENVIRONMENTS = 16

OnEpisode = Callable[[int, float], None]
"""(episodes finished so far, return of this one): progress of an evaluation."""


@dataclass(frozen=True)
class Evaluation:
    """Raw outcome of E episodes; episode i was reset with seed + i."""

    returns: np.ndarray  # [E] float64, undiscounted
    lengths: np.ndarray  # [E] int64, environment steps


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
            envs.append(flat_environment(env_id))
        return _run(policy, envs, num_episodes, seed, on_episode or _ignore, device)
    finally:
        for env in envs:
            env.close()


@dataclass
class _Lane:
    """One environment and the episode that it is playing."""

    env: gymnasium.Env
    episode: int
    obs: np.ndarray


@torch.no_grad()
def _run(
    policy: Callable[[Tensor], Tensor],
    envs: list[gymnasium.Env],
    num_episodes: int,
    seed: int,
    on_episode: OnEpisode,
    device: torch.device | str,
) -> Evaluation:
    result = Evaluation(np.zeros(num_episodes, np.float64), np.zeros(num_episodes, np.int64))
    lanes = [_Lane(env, i, env.reset(seed=seed + i)[0]) for i, env in enumerate(envs)]
    started, finished = len(lanes), 0
    while lanes:
        for lane, act in zip(lanes, _actions(policy, lanes, device), strict=True):
            if not _step(lane, act, result):
                continue
            finished += 1
            on_episode(finished, float(result.returns[lane.episode]))
            lane.episode, started = started, started + 1
            if lane.episode < num_episodes:
                lane.obs = lane.env.reset(seed=seed + lane.episode)[0]
        lanes = [lane for lane in lanes if lane.episode < num_episodes]
    return result


def _actions(policy: Callable[[Tensor], Tensor], lanes: list[_Lane], device: torch.device | str) -> np.ndarray:
    obs = torch.from_numpy(np.stack([lane.obs for lane in lanes])).to(device, torch.float32)
    actions = policy(obs).cpu().numpy()
    if not np.isfinite(actions).all():
        raise ValueError("the policy gave actions that are not finite: the agent has diverged")
    return actions


def _step(lane: _Lane, act: np.ndarray, result: Evaluation) -> bool:
    """Advance one environment; True where its episode ended."""
    lane.obs, reward, terminated, truncated, _ = lane.env.step(act)
    result.returns[lane.episode] += float(reward)
    result.lengths[lane.episode] += 1
    return bool(terminated or truncated)


def _ignore(finished: int, episode_return: float) -> None:
    """No one watches."""

"""Roll out a policy in the simulator from recorded pairs, as a world model without error.

With a cloned behaviour policy, the distance of these segments from the recorded futures is the randomness of the
behaviour plus the error of the clone: a lower bound for every model that does not see the actions.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from dwm_ray.evaluation.simulator import Simulator
from dwm_ray.types import Policy, Segments


def simulated(env_id: str, obs: Tensor, act: Tensor, policy: Policy, horizon: int) -> tuple[Segments, Tensor]:
    """Return segments of `horizon` steps from raw pairs [B, O] and [B, A], and a mask [B] of the valid rows.

    Invalid rows hold zeros from the failed step on (see `Simulator`: clipped velocities, instability). Discounts are 1.
    Raises ValueError for environments whose state cannot be set from an observation.
    """
    simulator = Simulator(env_id)
    known = torch.ones(len(obs), dtype=torch.bool, device=obs.device)
    states, actions, rews = [obs], [act], []
    for step in range(horizon):
        if step > 0:
            actions.append(policy(states[-1], step))
        following, rew, done = _step(simulator, states[-1], actions[-1])
        known &= done
        states.append(following)
        rews.append(rew)
    rew = torch.stack(rews, 1)
    nothing = torch.zeros_like(rew)
    obs, act = torch.stack(states, 1), torch.stack(actions, 1)
    return Segments(obs, act, rew, nothing + 1, nothing, torch.ones_like(rew[:, 0])), known


def _step(simulator: Simulator, obs: Tensor, act: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return (next state [B, O], reward [B], whether the simulator succeeded [B]) of one step from each state."""
    nothing = np.zeros(obs.shape[1])
    pairs = zip(obs.double().cpu().numpy(), act.double().cpu().numpy(), strict=True)
    steps = [simulator.step(state, action) for state, action in pairs]
    following = np.stack([nothing if step is None else step[0] for step in steps])
    rew = np.array([0.0 if step is None else step[1] for step in steps])
    done = torch.tensor([step is not None for step in steps], device=obs.device)
    return torch.from_numpy(following).to(obs), torch.from_numpy(rew).to(obs), done

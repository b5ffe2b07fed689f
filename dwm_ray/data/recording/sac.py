"""An online SAC run (stable-baselines3, default hyperparameters) that records every transition.

The state is saved as plain tensors, because stable-baselines3 writes pickles. The replay buffer is rebuilt from the
recording. A resumed run starts a new episode with new random numbers, so it differs from an uninterrupted run.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dwm_ray.data.recording.recorder import Recorder
from dwm_ray.errors import optional_module
from dwm_ray.runs.tensor_files import prefixed, unprefixed
from dwm_ray.tasks.environments import make_environment

OnStep = Callable[[bool], bool]
"""Whether an episode ended with this step -> whether to continue."""


class SacRun:
    """SAC on a Gymnasium environment that writes to `recorder`; needs stable-baselines3."""

    def __init__(self, env_id: str, seed: int, recorder: Recorder) -> None:
        sac = optional_module("stable_baselines3", "--recipe", "collect").SAC
        self.recorder = recorder
        self._model = sac("MlpPolicy", make_environment(env_id), buffer_size=recorder.capacity, seed=seed)
        self._model.set_random_seed(seed + recorder.num_rows)

    def act(self, obs: np.ndarray) -> np.ndarray:
        """Sample an action within the environment's bounds from the policy."""
        return self._model.predict(obs, deterministic=False)[0]

    def train(self, on_step: OnStep) -> None:
        """Interact and learn until the recorder is full or `on_step` returns False."""
        remaining = self.recorder.capacity - self.recorder.num_rows
        if remaining > 0:
            self._model.learn(remaining, callback=self._record_with(on_step), reset_num_timesteps=False)

    def tensors(self) -> dict[str, Tensor]:
        """Return networks, temperature and optimiser states."""
        state = prefixed("policy", self._model.policy.state_dict())
        state["log_ent_coef"] = self._model.log_ent_coef
        for name, optimizer in self._optimizers().items():
            for index, moments in optimizer.state_dict()["state"].items():
                state |= prefixed(f"{name}.{index}", moments)
        return state

    def load(self, tensors: dict[str, Tensor]) -> None:
        """Load the result of `tensors`; the recorder must already contain its rows."""
        self._model.policy.load_state_dict(unprefixed("policy", tensors))
        self._model.log_ent_coef.data.copy_(tensors["log_ent_coef"])
        for name, optimizer in self._optimizers().items():
            moments: dict[int, dict[str, Tensor]] = {}
            for key, value in unprefixed(name, tensors).items():
                index, _, moment = key.partition(".")
                moments.setdefault(int(index), {})[moment] = value
            optimizer.load_state_dict({**optimizer.state_dict(), "state": moments})
        self._refill()

    def _optimizers(self) -> dict[str, torch.optim.Optimizer]:
        model = self._model
        return {
            "actor_optimizer": model.actor.optimizer,
            "critic_optimizer": model.critic.optimizer,
            "temperature_optimizer": model.ent_coef_optimizer,
        }

    def _refill(self) -> None:
        """Rebuild the replay buffer, which contains actions scaled to -1..1 and one row per environment."""
        rows = self.recorder.arrays()
        num_rows, buffer = self.recorder.num_rows, self._model.replay_buffer
        buffer.observations[:num_rows, 0] = rows["observations"]
        buffer.next_observations[:num_rows, 0] = rows["next_observations"]
        buffer.actions[:num_rows, 0] = self._model.policy.scale_action(rows["actions"])
        buffer.rewards[:num_rows, 0] = rows["rewards"]
        buffer.dones[:num_rows, 0] = rows["terminals"] | rows["timeouts"]
        buffer.timeouts[:num_rows, 0] = rows["timeouts"]
        buffer.pos, buffer.full = num_rows % buffer.buffer_size, num_rows == buffer.buffer_size
        self._model.num_timesteps = num_rows

    def _record_with(self, on_step: OnStep) -> Callable[[dict[str, Any], dict[str, Any]], bool]:
        """Return a stable-baselines3 callback that runs after each step, before the buffer stores it."""

        def record(scope: dict[str, Any], _: dict[str, Any]) -> bool:
            info, done = scope["infos"][0], bool(scope["dones"][0])
            truncated = done and info["TimeLimit.truncated"]
            self.recorder.add(
                self._model._last_obs[0],
                scope["actions"][0],
                float(scope["rewards"][0]),
                info["terminal_observation"] if done else scope["new_obs"][0],
                terminated=done and not truncated,
                truncated=truncated,
            )
            return on_step(done)

        return record

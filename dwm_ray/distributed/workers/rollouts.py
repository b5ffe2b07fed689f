"""OnPolicySource of imagined transitions, drawn by sampler actors while the learner learns on.

Weights go out once a version and rows come straight back to the learner; no index stands between them, for nobody else
could use rows that follow this learner's policy. A part whose sampler died is asked of the next one.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from itertools import cycle
from typing import Any

import ray
from ray.exceptions import ActorUnavailableError, ObjectLostError, RayActorError, RayTaskError

from dwm_ray.agents.base import Agent
from dwm_ray.config import RunConfig
from dwm_ray.replay.on_policy import RolloutShard

RETRY_PAUSE_S = 1.0
MOST_FAILURES = 20
"""Parts lost in a row after which the learner gives up."""


@dataclass
class _Order:
    """A part that was asked for."""

    version: int
    part: int
    weights: Any
    ref: Any


class ActorRollouts:
    """Asks the samplers in turn; see `rounds.RolloutGenerator`."""

    asynchronous = True

    def __init__(self, config: RunConfig, world_model: str, sampler_names: list[str]) -> None:
        self._config, self._world_model = config, world_model
        self._options = config.model_dump_json()
        self._samplers = cycle([ray.get_actor(name) for name in sampler_names])
        self._orders: list[_Order] = []
        self._failures = 0

    def submit(self, version: int, agent: Agent) -> None:
        weights = ray.put({name: tensor.cpu() for name, tensor in agent.state_dict().items()})
        for part in range(self._config.synthesis.rollout_shards):
            self._orders.append(_Order(version, part, weights, self._ask(version, part, weights)))

    def _ask(self, version: int, part: int, weights: Any) -> Any:
        sampler = next(self._samplers)
        return sampler.generate_shard.remote(self._options, self._world_model, weights, version, part)

    def collect(self, at_least: int) -> list[RolloutShard]:
        """RuntimeError when samplers keep failing, or answer no more within `replay.patience_s`."""
        parts: list[RolloutShard] = []
        while self._orders:
            late = [order for order in self._orders if order.version <= at_least]
            patience = self._config.replay.patience_s
            done, _ = ray.wait([order.ref for order in late or self._orders], timeout=patience if late else 0)
            if late and not done:
                raise RuntimeError(f"round {late[0].version} did not come within replay.patience_s = {patience:g} s")
            if not done:
                break
            parts += [part for part in map(self._received, self._take(done)) if part is not None]
        return parts

    def _take(self, done: list[Any]) -> list[_Order]:
        taken = [order for order in self._orders if order.ref in done]
        self._orders = [order for order in self._orders if order.ref not in done]
        return taken

    def _received(self, order: _Order) -> RolloutShard | None:
        """The part, or None where its sampler failed: it is asked for again."""
        try:
            part: RolloutShard = ray.get(order.ref)
        except (ActorUnavailableError, ObjectLostError, RayActorError, RayTaskError) as error:
            self._failures += 1
            if self._failures >= MOST_FAILURES or isinstance(error, RayTaskError):
                raise RuntimeError(f"samplers cannot imagine round {order.version}: {error}") from error
            time.sleep(RETRY_PAUSE_S)
            again = self._ask(order.version, order.part, order.weights)
            self._orders.append(_Order(order.version, order.part, order.weights, again))
            return None
        self._failures = 0
        return part

"""Off-policy estimates of a policy's value from recorded data alone, for tasks without a simulator.

| estimate | meaning |
|---|---|
| `estimate_fqe` | discounted return from the start of an episode, by fitted Q evaluation (`evaluation.fqe`) |
| `estimate_model` | discounted return of the first `HORIZON` steps in one-step models (`imagined_returns`) |
| `estimate_distance` | mean squared distance of the policy's actions from the recorded ones, in standard deviations |

All three are measured on the held-out episodes, on which neither critics nor models are trained. (The policy itself
learns from all episodes.) Intervals are bootstraps over these episodes: they include the variation of start states, but
not the error of the critics. `estimate_fqe_spread`, the standard deviation between critics, only indicates this error.

Every network of the one-step ensemble is rolled out alone for all steps, so that the spread between networks contains
the accumulated errors. Imagined states and rewards are clipped to the range of the recorded ones, outside which no
network was trained.
"""

import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from dwm_ray.agents.base import Agent
from dwm_ray.config import RunConfig
from dwm_ray.evaluation import stats
from dwm_ray.evaluation.fqe import FittedQ
from dwm_ray.evaluation.logged_data import LoggedData
from dwm_ray.evaluation.rollout import Diverged
from dwm_ray.options import TrainingConfig
from dwm_ray.registry import find
from dwm_ray.world_models.base import WorldModel
from dwm_ray.world_models.one_step import OneStep, OneStepConfig


@torch.no_grad()
def imagined_returns(
    model: WorldModel, policy: Callable[[Tensor], Tensor], data: LoggedData, horizon: int, generator: torch.Generator
) -> Tensor:
    """Return the discounted returns [networks, E] of `horizon` steps from the held-out starts, raw reward units.

    `policy` maps raw states [B, O] to actions [B, A]. A rollout ends where the task's rule or the network
    terminates it.
    """
    assert isinstance(model, OneStep)
    networks = [model.single_elite(number) for number in range(len(model.elite))]
    return torch.stack([_returns(network, policy, data, horizon, generator) for network in networks])


def _returns(
    network: WorldModel, policy: Callable[[Tensor], Tensor], data: LoggedData, horizon: int, generator: torch.Generator
) -> Tensor:
    obs, low, high = data.starts, data.stats.rew_min, data.stats.rew_max
    weight = obs.new_ones(len(obs))
    total = torch.zeros_like(weight)
    for _ in range(horizon):
        step = network.imagine(obs, policy(obs), policy=None, horizon=1, rtg=0.0, generator=generator)
        total += weight * step.rew[:, 0].clamp(low, high)
        continues = (step.discount[:, 0] > 0) & ~data.termination(step.obs[:, 1])
        weight = weight * data.discount * continues
        obs = step.obs[:, 1].clamp(data.obs_low, data.obs_high)
    return total


HORIZON = 100
"""Steps of imagined rollouts."""
NUM_MODELS = 5
"""Networks of the one-step ensemble, all of which are used."""
BEHAVIOUR_FACTOR = 4
"""Updates of the behaviour policy's value per update of a policy's value; all trials in a process share the former."""
CHUNK = 8192
"""States per call of a policy."""


def estimation_config(config: RunConfig) -> RunConfig:
    """Return a run with the one-step ensemble of the estimates of `config`; equal data give equal ensembles."""
    model = OneStepConfig.for_profile("laptop").model_copy(
        update={
            "num_updates": config.evaluation.estimate_model_updates,
            "ensemble_size": NUM_MODELS,
            "num_elites": NUM_MODELS,
            "first_step": "imagined",
        }
    )
    return RunConfig(
        task=config.task,
        data=config.data,
        world_model=model,
        agent=find("agents", "bc").Config(),
        filter=find("filters", "keep_all").Config(),
        training=TrainingConfig(discount=config.training.discount),
        execution=config.execution.model_copy(update={"compiled": False, "cuda_graphs": False}),
        cluster=config.cluster,
    )


class OffPolicyEvaluator:
    """Evaluator of one trial from recorded data.

    The first and the final estimate of a trial use `evaluation.estimate_updates` updates of the critics. Estimates
    in between continue from the critics of the previous checkpoint with a quarter of these updates. This is sound
    because the solution of fitted Q evaluation does not depend on where it starts, and cheap because the policy changes
    little. The final estimate starts from the behaviour policy's value again, so that it does not depend on the history
    of a trial.
    """

    def __init__(self, config: RunConfig, data: LoggedData, model: WorldModel) -> None:
        self._config, self._data, self._model = config, data, model
        self._critics: FittedQ | None = None

    def evaluate(self, agent: Agent, final: bool) -> dict[str, Any]:
        """Return the estimates of a policy and their seconds; raise Diverged if its actions are not finite."""
        start, data = time.perf_counter(), self._data

        def policy(obs: Tensor) -> Tensor:
            actions = torch.cat([agent.act(chunk) for chunk in obs.split(CHUNK)])
            if not actions.isfinite().all():
                raise Diverged
            return actions

        values = self._values(policy, final)
        imagined = imagined_returns(self._model, policy, data, HORIZON, self._generator()).mean(1)
        interval = stats.estimate(stats.mean, [values.mean(0).cpu().numpy()])
        distance = ((policy(data.states) - data.actions) / data.act_unit).square().mean()
        return {
            "estimate_fqe": interval["value"],
            "estimate_fqe_low": interval["low"],
            "estimate_fqe_high": interval["high"],
            "estimate_fqe_spread": float(values.mean(1).std()),
            "estimate_model": float(imagined.mean()),
            "estimate_model_spread": float(imagined.std()),
            "estimate_distance": float(distance),
            "estimate_episodes": len(data.starts),
            "estimate_s": time.perf_counter() - start,
        }

    def _values(self, policy: Any, final: bool) -> Tensor:
        """Return the values [critics, E] of the held-out starts."""
        updates = self._config.evaluation.estimate_updates
        if self._critics is None or final:
            self._critics = FittedQ(self._data, BEHAVIOUR_FACTOR * updates, self._generator())
        else:
            updates = max(1, updates // 4)
        self._critics.fit(policy, updates)
        return self._critics.values(self._data.starts, policy)

    def _generator(self) -> torch.Generator:
        return torch.Generator(self._data.starts.device).manual_seed(0)

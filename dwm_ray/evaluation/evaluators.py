"""Evaluators of policies: scores in the task's environment, or off-policy estimates for data without one.

A run has one kind of evaluator, which `new_evaluators` chooses. Rows of a simulator hold `score_mean` and the returns
of the episodes. Rows of estimates hold names with the prefix `estimate_` and no score, so that the two are never mixed.
`ranked` returns the number by which trials are compared: the score, or else the estimate by fitted Q evaluation.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch

from dwm_ray.agents.base import Agent
from dwm_ray.config import RunConfig
from dwm_ray.data.split import split_for_estimates
from dwm_ray.data.task_data import TaskData
from dwm_ray.evaluation.off_policy import LoggedData, OffPolicyEvaluator, estimation_config
from dwm_ray.evaluation.rollout import evaluate
from dwm_ray.tasks.environments import try_environment
from dwm_ray.tasks.table import TaskSpec
from dwm_ray.world_models.base import WorldModel, trained_options

Evaluator = Callable[[Agent, bool], dict[str, Any]]
"""(agent, whether it is after the last update) -> row; called for the checkpoints of one trial in order."""


def simulated(config: RunConfig, task_data: TaskData, agent: Agent, final: bool) -> dict[str, Any]:
    """Evaluate a checkpoint by episodes in the task's environment."""
    num_episodes = config.evaluation.num_episodes if final else config.evaluation.curve_episodes
    return evaluate_agent(agent, config, task_data, num_episodes)


def new_evaluators(
    configs: Sequence[RunConfig],
    task_data: TaskData,
    world_model: Callable[[RunConfig], WorldModel],
    device: torch.device,
) -> list[Evaluator]:
    """Return one evaluator per trial; estimates share their data and the model of `world_model`."""
    if task_data.task.env_id is not None:
        return [partial(simulated, config, task_data) for config in configs]
    data = LoggedData.of(configs[0], task_data, device)
    model = world_model(estimation_config(configs[0]))
    return [OffPolicyEvaluator(config, data, model).evaluate for config in configs]


def check_evaluation(config: RunConfig, task_data: TaskData) -> None:
    """Try the task's environment, or check that episodes can be held out for estimates.

    Raises:
        ValueError: The environment or the data cannot be used.
        BrokenEnvironmentError: The environment fails.
    """
    task = task_data.task
    if task.env_id is None:
        split_for_estimates(task_data.episodes, config.data.holdout_ratio)
    else:
        try_environment(task.env_id, task.env_options)


def required_models(config: RunConfig, has_environment: bool) -> list[RunConfig]:
    """Return the runs whose trained world models a trial needs: its own, and that of the estimates."""
    models = [] if trained_options(config) is None else [config]
    return models if has_environment else [*models, estimation_config(config)]


def evaluate_agent(agent: Agent, config: RunConfig, task_data: TaskData, num_episodes: int) -> dict[str, Any]:
    """Score the greedy policy in the task's environment: score_mean, score_std, returns, policy_ms, ..."""
    task, seed = task_data.task, 10_000 + 1000 * config.seed
    if task.env_id is None:
        raise ValueError("data.env: the data have no environment to run episodes in; expected the id of one")
    device = next(agent.parameters()).device
    result = evaluate(agent.act, task.env_id, num_episodes, seed, device, task.env_options)
    scores = summarize(result.returns, task)
    return {**scores, "returns": result.returns.tolist(), "policy_ms": result.policy_ms}


def ranked_name(row: Mapping[str, Any]) -> str:
    """Return the printed name of the number that `ranked` returns for an evaluation."""
    return "estimate" if "estimate_fqe" in row else "score"


OBJECTIVE = "objective"
"""Name of `ranked` in reports to Tune."""


def ranked(row: Mapping[str, Any]) -> float | None:
    """Return the value by which evaluations of trials are compared; None for other rows."""
    value = row.get("score_mean", row.get("estimate_fqe"))
    return None if value is None else float(value)


def summarize(returns: np.ndarray, task: TaskSpec) -> dict[str, float | int]:
    """Return means and population standard deviations of E returns and of their scores in `task.score_unit`."""
    if len(returns) == 0:
        raise ValueError("returns: no episodes to summarize; expected at least one")
    scores = np.array([task.score(float(value)) for value in returns])
    return {
        "score_mean": float(scores.mean()),
        "score_std": float(scores.std()),
        "return_mean": float(np.mean(returns)),
        "return_std": float(np.std(returns)),
        "episodes": len(returns),
    }

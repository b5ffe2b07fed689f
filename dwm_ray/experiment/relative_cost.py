"""Relative cost of a trial's updates: it determines the start order and predicts the time of trials not yet started."""

from __future__ import annotations

from collections.abc import Sequence

from dwm_ray.config import RunConfig

BOOTSTRAP_COST = 0.25
"""Cost of the value of one more state per row, in the unit of `Agent.relative_flops`; a third of the operations."""


def relative_cost(population: Sequence[RunConfig]) -> float:
    """Return the relative cost of all updates of trials that learn as a population: their rows have equal lengths."""
    states = max(map(_bootstrap_states, population))
    return sum(_cost(config, states) for config in population)


def _cost(config: RunConfig, states: int) -> float:
    update = config.agent.plugin.relative_flops + BOOTSTRAP_COST * (states - 1)
    if config.world_model is not None:
        update += config.world_model.plugin.relative_flops
    return float(update * config.training.num_updates * config.training.batch_size)


def _bootstrap_states(config: RunConfig) -> int:
    """Return the states per row whose values a target needs: one, or those after each step if lambda is below 1."""
    if config.world_model is None or getattr(config.agent, "return_lambda", 1.0) == 1:
        return 1
    return config.synthesis.horizon

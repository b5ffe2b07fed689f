"""Decide which trials can form a population.

Members share everything that determines the operations of an update: data, agent and its options except
`member_options`, training, evaluation, and whether batches come from a stream. Seeds, world models, horizons,
return-to-go and filters may differ. Model-free trials and trials with recorded futures can form one population.
"""

import math
from collections.abc import Callable, Sequence
from typing import Annotated, Any

from pydantic import Field

from dwm_ray.config import RunConfig
from dwm_ray.options import Frozen, fingerprint
from dwm_ray.registry import plugins
from dwm_ray.replay.sources import selection, source_kind
from dwm_ray.runs.folder import RunFolder
from dwm_ray.training.checkpoints import saved_update


class PopulationOptions(Frozen):
    """Options of programs that run many trials."""

    population: Annotated[int, Field(ge=1)] | None = None
    """Maximum number of trials of one agent that are trained together, in one process with stacked weights. Increase it
    if the matrix products of one trial are too small for the machine. 1 trains every trial separately. Default: 8 for
    the profile laptop, 1 for paper, and 1 if scores determine which trials run (optuna, asha). When a run is resumed,
    the stored value is used."""
    in_process: bool = False
    """Run everything in this process, without Ray."""


def population_note(max_members: int) -> str:
    """Return the note on populations that follows the number of trials."""
    return f"; up to {max_members} of one agent are trained as a population (--population)" if max_members > 1 else ""


def population_size(max_members: int, num_trials: int, processes: int) -> int:
    """Return the largest population that still leaves trials for all processes."""
    return max(1, min(max_members, math.ceil(num_trials / processes)))


BATCHES = ("world_model", "synthesis", "filter", "replay")
"""Options that determine the content of a member's batches."""


def groups(
    configs: Sequence[RunConfig], max_members: int, update_of: Callable[[RunConfig], int] = lambda config: 0
) -> list[list[RunConfig]]:
    """Group configurations at the same update that can form a population, in similar sizes up to `max_members`."""
    pools: dict[tuple[str, int], list[RunConfig]] = {}
    for config in configs:
        pools.setdefault((_common_options(config), update_of(config)), []).append(config)
    sizes = {key: math.ceil(len(members) / math.ceil(len(members) / max_members)) for key, members in pools.items()}
    return [members[i : i + sizes[key]] for key, members in pools.items() for i in range(0, len(members), sizes[key])]


def groups_of(configs: Sequence[RunConfig], run: RunFolder, max_members: int) -> list[list[RunConfig]]:
    """Group configurations as `groups` does, by the updates of their checkpoints."""
    return groups(configs, max_members, lambda config: saved_update(run.fetched(run.trial(config.trial_id))))


def stackable_agents() -> list[str]:
    """Return the names of the agents that support populations of P > 1."""
    every: dict[str, Any] = plugins("agents")
    return [name for name, cls in every.items() if cls.member_options is not None]


def _common_options(config: RunConfig) -> str:
    """Return a key that is equal for configurations that can form a population."""
    tree, kind = config.model_dump(mode="json", exclude={"cluster"}), source_kind(config)
    if config.agent.plugin.member_options is None or kind not in ("transitions", "recorded", "stream"):
        return fingerprint(tree)
    kind = "recorded" if kind == "transitions" else kind  # a transition is a recorded future of one step
    for name in ("seed", *BATCHES):
        del tree[name]
    for name in config.agent.plugin.member_options:
        del tree["agent"][name]
    return fingerprint([tree, kind, kind == "stream" and selection(config).transitions])

"""Which trials can learn as one population.

What members must have in common is what makes their updates one set of operations: data, agent and its options but for
`member_options`, training, evaluation, and that segments, if any, come from a stream. Seeds, world models, horizons,
return-to-go and filters are a member's own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Annotated, Any

from pydantic import Field

from dwm_ray.config import RunConfig
from dwm_ray.experiment.search_space import Trial
from dwm_ray.options import Frozen, fingerprint
from dwm_ray.registry import plugins
from dwm_ray.replay.sources import selection, source_kind
from dwm_ray.runs.folder import RunFolder
from dwm_ray.training.resume import update_kept


class PopulationOptions(Frozen):
    """Options of programs that run many trials."""

    population: Annotated[int, Field(ge=1)] | None = None
    """Train up to this many trials of an agent as one, in one process: one set of matrix products an update, which
    pays where those of one trial are too small for the machine. On Ray groups are smaller where other processes would
    have nothing to do. 1: every trial on its own. None: 8 with the profile laptop, 1 with paper, and 1 where trials
    begin or end by others' scores (optuna, asha); of a run that is resumed, what it was begun with."""
    in_process: bool = False
    """Do everything in this process, without Ray."""


def as_one(most_members: int) -> str:
    """What a program says of it, behind the number of trials."""
    return f"; up to {most_members} of an agent learn as one (--population)" if most_members > 1 else ""


BATCHES = ("world_model", "synthesis", "filter", "replay")
"""Options that decide what a member's batches are made of."""


def groups(
    configs: Sequence[RunConfig], most_members: int, standing: Callable[[RunConfig], int] = lambda config: 0
) -> list[list[RunConfig]]:
    """Configurations that can learn as one population, for their trials stand at the same update, in parts of about
    equal size, at most `most_members` each."""
    found: dict[tuple[str, int], list[RunConfig]] = {}
    for config in configs:
        found.setdefault((_in_common(config), standing(config)), []).append(config)
    sizes = {key: math.ceil(len(own) / math.ceil(len(own) / most_members)) for key, own in found.items()}
    return [own[at : at + sizes[key]] for key, own in found.items() for at in range(0, len(own), sizes[key])]


def groups_of(configs: Sequence[RunConfig], run: RunFolder, most_members: int) -> list[list[RunConfig]]:
    """`groups` of trials that go on where their folders' last checkpoints stand."""
    return groups(configs, most_members, lambda config: update_kept(run.fetched(run.trial(Trial(config, {}).id))))


def stackable_agents() -> list[str]:
    """Return the names of the agents that support populations of P > 1."""
    every: dict[str, Any] = plugins("agents")
    return [name for name, cls in every.items() if cls.member_options is not None]


def can_learn_together(config: RunConfig) -> bool:
    """Can the trial be a member of a population?"""
    return config.agent.plugin.member_options is not None and source_kind(config) in (
        "real",
        "stream",
    )


def _in_common(config: RunConfig) -> str:
    """Equal for configurations that can learn as one population."""
    tree, kind = config.identity(), source_kind(config)
    if not can_learn_together(config):
        return fingerprint(tree)
    for name in ("seed", *BATCHES):
        del tree[name]
    for name in config.agent.plugin.member_options:
        del tree["agent"][name]
    return fingerprint([tree, kind, kind == "stream" and selection(config).transitions])

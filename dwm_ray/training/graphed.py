"""Updates of a learner as CUDA graphs: what `execution.cuda_graphs` asks for, and of whom it can be had.

Batches are drawn as ever, for a ring grows, but into memory that stays in place; what comes after is one launch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from dwm_ray.agents.base import Agent
from dwm_ray.cuda_graphs import Graphs, capture_on
from dwm_ray.replay.mixture import Mixture
from dwm_ray.replay.source import BatchSource
from dwm_ray.types import Metrics, Segments

OPTION = "execution.cuda_graphs"


def update_graphs(agent: Agent, generators: Sequence[torch.Generator]) -> Graphs[Metrics]:
    """The graphs of an agent's updates, or of the population's that it is a member of. ValueError for an agent or a
    device that cannot."""
    if not agent.supports_cuda_graphs:
        raise ValueError(f"{OPTION}: agent {agent.config.plugin_name()} does not support CUDA graphs; expected False")
    return Graphs(capture_on(generators[0].device, OPTION), generators, OPTION)


def in_place(source: BatchSource, generator: torch.Generator) -> Callable[[], Segments]:
    """Draws the next batch, always into the same memory; ValueError for a source that has its own."""
    if not isinstance(source, Mixture):
        raise ValueError(
            f"{OPTION}: batches come from {type(source).__name__}, which imagines as learning goes on; expected "
            "recorded transitions or segments drawn ahead, or False"
        )
    mixture, rows = source, source.new_batch()
    batch = mixture.shape.split(rows)

    def draw() -> Segments:
        mixture.draw_into(rows, generator)
        return batch

    return draw

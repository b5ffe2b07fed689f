"""What imagination costs a learner, beside model-free learning with the same agent, in updates per second.

The trainer's whole loop is timed, metrics included. model_free: recorded transitions. stream: segments drawn ahead, by
other processes or in an earlier trial. drawing: the same process also draws what a run of the profile draws per update
(`synthesis.num_segments / training.num_updates`), as if nobody shared the stream; its blocks are small, so this is an
upper bound of the cost. inline: every row of every batch is imagined within the update, as in DWM's paper.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import ClassVar

from dwm_ray.benchmarks.measure import Call, Work
from dwm_ray.benchmarks.workloads import Workbench
from dwm_ray.blocks.stream import StreamSpec, generate_block
from dwm_ray.config import RunConfig
from dwm_ray.registry import find
from dwm_ray.training.agent import AgentTrainer

UPDATES_PER_CALL = 20
"""Updates between two reads of the metrics and in a burst at least: few, since those of `inline` are slow."""


@dataclass(frozen=True)
class Whole:
    """Updates/s of a learner: model-free, on a stream, with its share of drawing, imagining within the update."""

    name: ClassVar[str] = "whole"
    unit: ClassVar[str] = "updates/s"

    agents: tuple[str, ...] = ("td3_bc", "iql")
    """Agents by name; they need a critic."""

    def work(self, bench: Workbench) -> list[Work]:
        """Four pieces per agent."""
        return [work for name in self.agents for work in _of_agent(name, bench)]


def _of_agent(name: str, bench: Workbench) -> list[Work]:
    if not find("agents", name).has_critic:
        raise ValueError(f"--agents {name}: without a critic it learns nothing from imagined segments")
    free = f"{name}-model_free"
    return [
        Work(free, partial(model_free, bench, bench.config("none", name)), UPDATES_PER_CALL),
        *(
            Work(f"{name}-{on.__name__}", partial(on, bench, bench.config("dwm", name)), UPDATES_PER_CALL, free)
            for on in (stream, drawing, inline)
        ),
    ]


def model_free(bench: Workbench, config: RunConfig) -> Call:
    trainer = AgentTrainer(bench.agent(config), bench.real(config), bench.generator())
    return lambda: trainer.run(UPDATES_PER_CALL)


def stream(bench: Workbench, config: RunConfig) -> Call:
    trainer = AgentTrainer(bench.agent(config), bench.stream(config), bench.generator())
    return lambda: trainer.run(UPDATES_PER_CALL)


def drawing(bench: Workbench, config: RunConfig) -> Call:
    """Draws the share of the updates that follow, then makes them."""
    learning, model, starts = stream(bench, config), bench.model(config), bench.starts(config)
    share = config.synthesis.num_segments / config.training.num_updates
    rows = round(share * UPDATES_PER_CALL)
    spec = StreamSpec.of(config.with_values({"synthesis.block_rows": rows}), "benchmark")

    def call() -> None:
        generate_block(spec, 0, model, starts, bench.task_data.task.termination)
        learning()

    return call


def inline(bench: Workbench, config: RunConfig) -> Call:
    agent = bench.agent(config)
    trainer = AgentTrainer(agent, bench.inline(config, agent), bench.generator())
    return lambda: trainer.run(UPDATES_PER_CALL)

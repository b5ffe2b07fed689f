"""Updates per second of agents: arithmetic, compilation, and where the batches come from.

fp32, auto: recorded transitions, matrix products in float32 and in the machine's reduced precision. segments: the
latter on imagined segments that were drawn ahead. inline: the same with the segments imagined within the update, as in
DWM's paper. population-P: what `auto` runs, P agents learning as one; updates are summed over them. compiled:
torch.compile of what `auto` runs; where that breaks the update into pieces it says so by its rate. graphed,
graphed-population-P: what `auto` and population-P run, replayed as CUDA graphs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Annotated, ClassVar

import torch
import tyro

from dwm_ray.agents.population import Population, stackable_agents
from dwm_ray.benchmark.measure import Call, Work, recorded
from dwm_ray.benchmark.workbench import Workbench
from dwm_ray.config import RunConfig
from dwm_ray.registry import find
from dwm_ray.training.agent import AgentTrainer
from dwm_ray.training.population import PopulationTrainer

COMPILING_CALLS = 20
"""First calls of a compiled update, not counted: torch compiles it anew up to 8 times, as counters and delayed updates
show it other values, and then gives that part up."""


@dataclass(frozen=True)
class Learner:
    """Updates/s of agents: fp32, reduced precision, populations, imagined segments, imagined within the update."""

    name: ClassVar[str] = "learner"
    unit: ClassVar[str] = "updates/s"

    agents: tuple[str, ...] = ("td3_bc", "iql")
    """Agents by name."""
    horizon: int = 5
    """H of the imagined segments."""
    batch_size: int = 256
    """Segments per update."""
    hidden_size: int = 256
    """Units of each hidden layer; the smaller the networks, the more a population gains."""
    populations: tuple[int, ...] = (8,)
    """Members of populations, for agents that can learn as one."""
    compiled: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Also torch.compile; its compilation takes a minute or more on one core, and needs a C++ compiler."""
    graphed: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Also CUDA graphs, of single agents and of populations; on a GPU only."""

    def work(self, bench: Workbench) -> list[Work]:
        """Four pieces per agent with a critic, one per population, one compiled, and those as CUDA graphs. ValueError
        where these need a GPU that there is not."""
        if self.graphed:
            bench.expect_gpu("--graphed")
        return [work for name in self.agents for work in self._of_agent(name, bench)]

    def _of_agent(self, name: str, bench: Workbench) -> list[Work]:
        cls = find("agents", name)

        def config(precision: str, world_model: str) -> RunConfig:
            values = {"agent.matmul_precision": precision, "training.batch_size": self.batch_size}
            values["agent.hidden_size"] = self.hidden_size
            return bench.config(world_model, name, **values, **{"synthesis.horizon": self.horizon})

        own = "dwm" if cls.plans else "none"

        works = [
            Work(f"{name}-fp32", partial(on_real, bench, config("fp32", own))),
            Work(f"{name}-auto", partial(on_real, bench, config("auto", own)), reference=f"{name}-fp32"),
        ]
        works += [
            Work(
                f"{name}-population-{num}",
                partial(in_population, bench, config("auto", own), num),
                units=num,
                reference=f"{name}-auto",
            )
            for num in self._populations_of(name)
        ]
        if self.graphed:
            works += self._as_graphs(name, bench, config("auto", own))
        if self.compiled:
            works.append(
                Work(f"{name}-compiled", partial(compiled, bench, config("auto", own)), reference=f"{name}-auto")
            )
        if cls.has_critic:
            imagined = config("auto", "dwm")
            works += [
                Work(f"{name}-segments", partial(on_stream, bench, imagined), reference=f"{name}-auto"),
                Work(f"{name}-inline", partial(on_inline, bench, imagined), reference=f"{name}-auto"),
            ]
        return works

    def _populations_of(self, name: str) -> tuple[int, ...]:
        return self.populations if name in stackable_agents() else ()

    def _as_graphs(self, name: str, bench: Workbench, config: RunConfig) -> list[Work]:
        config = config.with_values({"training.cuda_graphs": True})
        single = Work(f"{name}-graphed", partial(replayed, bench, config), reference=f"{name}-auto")
        return [single] + [
            Work(
                f"{name}-graphed-population-{num}",
                partial(replayed_population, bench, config, num),
                units=num,
                reference=f"{name}-population-{num}",
            )
            for num in self._populations_of(name)
        ]


def on_real(bench: Workbench, config: RunConfig) -> Call:
    """Updates on recorded transitions."""
    agent, source, generator = bench.agent(config), bench.real(config), bench.generator()
    return lambda: agent.update(source.next_batch(generator), generator)


def replayed(bench: Workbench, config: RunConfig) -> Call:
    """Updates on recorded transitions as CUDA graphs."""
    return recorded(AgentTrainer(bench.agent(config), bench.real(config), bench.generator()).step)


def replayed_population(bench: Workbench, config: RunConfig, num_members: int) -> Call:
    """`in_population` as CUDA graphs."""
    return recorded(in_population(bench, config, num_members))


def in_population(bench: Workbench, config: RunConfig, num_members: int) -> Call:
    """Updates of so many agents at once, on recorded transitions, each with its own seed."""
    agents = [bench.agent(config.with_values({"seed": seed})) for seed in range(num_members)]
    generators = tuple(bench.generator() for _ in agents)
    return PopulationTrainer(Population(agents), [bench.real(config)] * num_members, generators).step


def on_stream(bench: Workbench, config: RunConfig) -> Call:
    """Updates on segments that were drawn ahead."""
    agent, source, generator = bench.agent(config), bench.stream(config), bench.generator()
    return lambda: agent.update(source.next_batch(generator), generator)


def on_inline(bench: Workbench, config: RunConfig) -> Call:
    """Updates on segments that are imagined within them."""
    agent, generator = bench.agent(config), bench.generator()
    source = bench.inline(config, agent)
    return lambda: agent.update(source.next_batch(generator), generator)


def compiled(bench: Workbench, config: RunConfig) -> Call:
    """Updates on recorded transitions, compiled. ValueError where torch cannot compile here."""
    agent, source, generator = bench.agent(config), bench.real(config), bench.generator()
    update: Callable[..., object] = torch.compile(agent.update)
    try:
        for _ in range(COMPILING_CALLS):
            update(source.next_batch(generator), generator)
    except Exception as error:  # dynamo, inductor and the C++ compiler raise types of their own
        raise ValueError(f"torch.compile: {type(error).__name__}") from error
    return lambda: update(source.next_batch(generator), generator)

"""Updates per second of agents: arithmetic, compilation, and where the batches come from.

fp32, auto: recorded transitions, matrix products in float32 and in the machine's reduced precision. segments: the
latter on imagined segments that were drawn ahead. inline: the same with the segments imagined within the update, as in
DWM's paper. population-P: what `auto` runs, P agents learning as one; updates are summed over them. compiled,
compiled-population-P, graphed, graphed-population-P: what `auto` and population-P run, compiled as a whole, or replayed
as CUDA graphs.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Annotated, ClassVar

import tyro

from dwm_ray.agents.parts.population import Population
from dwm_ray.benchmarks.measure import Call, Work, recorded
from dwm_ray.benchmarks.workloads import Workbench
from dwm_ray.config import RunConfig
from dwm_ray.experiment.grouping import stackable_agents
from dwm_ray.registry import find
from dwm_ray.training.agent import AgentTrainer
from dwm_ray.training.population import PopulationTrainer

MADE = {"graphed": "execution.cuda_graphs", "compiled": "execution.compiled"}
"""Other ways to make updates, and the options that ask for them."""


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
    """Also compiled updates, of single agents and of populations; each takes 20 to 70 seconds to compile, and needs a
    C++ compiler."""
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
        for option, wanted in (("graphed", self.graphed), ("compiled", self.compiled and cls.supports_compile)):
            works += self._made_otherwise(option, name, bench, config("auto", own)) if wanted else []
        if cls.has_critic:
            imagined = config("auto", "dwm")
            works += [
                Work(f"{name}-segments", partial(on_stream, bench, imagined), reference=f"{name}-auto"),
                Work(f"{name}-inline", partial(on_inline, bench, imagined), reference=f"{name}-auto"),
            ]
        return works

    def _populations_of(self, name: str) -> tuple[int, ...]:
        return self.populations if name in stackable_agents() else ()

    def _made_otherwise(self, option: str, name: str, bench: Workbench, config: RunConfig) -> list[Work]:
        """Updates of an agent, and of populations of it, as CUDA graphs or compiled."""
        config = config.with_values({MADE[option]: True})
        single = Work(f"{name}-{option}", partial(trained, bench, config), reference=f"{name}-auto")
        return [single] + [
            Work(
                f"{name}-{option}-population-{num}",
                partial(trained_population, bench, config, num),
                units=num,
                reference=f"{name}-population-{num}",
            )
            for num in self._populations_of(name)
        ]


def on_real(bench: Workbench, config: RunConfig) -> Call:
    """Updates on recorded transitions."""
    agent, source, generator = bench.agent(config), bench.real(config), bench.generator()
    return lambda: agent.update(source.next_batch(generator), generator)


def trained(bench: Workbench, config: RunConfig) -> Call:
    """Updates on recorded transitions, made as the options ask for. ValueError where this machine cannot."""
    return recorded(AgentTrainer(bench.agent(config), bench.real(config), bench.generator(), config.execution).step)


def trained_population(bench: Workbench, config: RunConfig, num_members: int) -> Call:
    """`in_population`, made as the options ask for. ValueError where this machine cannot."""
    return recorded(in_population(bench, config, num_members))


def in_population(bench: Workbench, config: RunConfig, num_members: int) -> Call:
    """Updates of so many agents at once, on recorded transitions, each with its own seed."""
    agents = [bench.agent(config.with_values({"seed": seed})) for seed in range(num_members)]
    generators = tuple(bench.generator() for _ in agents)
    sources = [bench.real(config)] * num_members
    return PopulationTrainer(Population(agents), sources, generators, config.execution).step


def on_stream(bench: Workbench, config: RunConfig) -> Call:
    """Updates on segments that were drawn ahead."""
    agent, source, generator = bench.agent(config), bench.stream(config), bench.generator()
    return lambda: agent.update(source.next_batch(generator), generator)


def on_inline(bench: Workbench, config: RunConfig) -> Call:
    """Updates on segments that are imagined within them."""
    agent, generator = bench.agent(config), bench.generator()
    source = bench.inline(config, agent)
    return lambda: agent.update(source.next_batch(generator), generator)

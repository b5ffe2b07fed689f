"""Updates per second of the learner: precision, compilation, CUDA graphs, populations, and source of the batches.

The whole training loop is timed, including metrics. fp32, auto: recorded transitions, with float32 products or the
reduced precision of the device. The other workloads use auto. population-P: P agents in one population; updates are
summed over members. compiled, graphed: compiled updates, or updates replayed as CUDA graphs. stream: segments generated
ahead of time. inline: the segments of every batch are generated within the update, as in the paper of DWM.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Annotated, ClassVar

import tyro

from dwm_ray.benchmarks.measure import Call, Workload
from dwm_ray.benchmarks.rates import RateSuite
from dwm_ray.benchmarks.setup import BenchmarkSetup
from dwm_ray.config import RunConfig
from dwm_ray.devices import Precision
from dwm_ray.experiment.grouping import stackable_agents
from dwm_ray.registry import find

HORIZON = 5
"""Steps of the generated segments."""
UPDATES_PER_CALL = 20
"""Updates between two reads of the metrics; small, because inline updates are slow."""
MODES = {"graphed": "execution.cuda_graphs", "compiled": "execution.compiled"}
"""Ways to run updates, and the options that select them."""


@dataclass(frozen=True)
class LearnerSuite(RateSuite):
    """Updates/s of the learner: precision, populations, compiled updates, CUDA graphs, sources of batches."""

    name: ClassVar[str] = "learner"
    unit: ClassVar[str] = "updates/s"

    agents: tuple[str, ...] = ("td3_bc", "iql")
    """Agents by name."""
    batch_size: int = 256
    """Segments per update."""
    hidden_size: int = 256
    """Units of each hidden layer; populations gain more with smaller networks."""
    precision: Precision = "auto"
    """Precision of all workloads except NAME-fp32; fp32 shows what a processor without bf16 instructions reaches."""
    populations: tuple[int, ...] = (8,)
    """Population sizes, for agents that can be stacked."""
    compiled: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Add compiled updates of single agents and populations. Each takes 20 to 70 seconds to compile and needs a C++
    compiler."""
    graphed: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Add CUDA graphs of single agents and populations; needs a GPU."""

    def workloads(self, setup: BenchmarkSetup) -> list[Workload]:
        """Return the workloads of all agents. Raise ValueError for CUDA graphs without a GPU."""
        if self.graphed:
            setup.expect_gpu("--graphed")
        return [work for name in self.agents for work in self._of_agent(name, setup)]

    def _of_agent(self, name: str, setup: BenchmarkSetup) -> Iterator[Workload]:
        cls = find("agents", name)
        world_model = "dwm" if cls.plans else "none"
        auto = self._config(setup, name, world_model, self.precision)
        yield _work(f"{name}-fp32", None, learning, setup, self._config(setup, name, world_model, "fp32"))
        yield _work(f"{name}-auto", f"{name}-fp32", learning, setup, auto)
        yield from self._populations(name, "", setup, auto, f"{name}-auto")
        for mode in self._modes(cls.supports_compile):
            config = auto.with_values({MODES[mode]: True})
            yield _work(f"{name}-{mode}", f"{name}-auto", learning, setup, config)
            yield from self._populations(name, f"-{mode}", setup, config)
        if cls.has_critic:
            generated = self._config(setup, name, "dwm", self.precision)
            yield _work(f"{name}-stream", f"{name}-auto", learning, setup, generated)
            yield _work(f"{name}-inline", f"{name}-auto", inline, setup, generated)

    def _populations(
        self, name: str, mode: str, setup: BenchmarkSetup, config: RunConfig, baseline: str | None = None
    ) -> Iterator[Workload]:
        for num in self.populations if name in stackable_agents() else ():
            build = partial(learning, num_members=num)
            against = baseline or f"{name}-population-{num}"
            yield _work(f"{name}{mode}-population-{num}", against, build, setup, config, num)

    def _modes(self, compilable: bool) -> list[str]:
        requested = {"graphed": self.graphed, "compiled": self.compiled and compilable}
        return [mode for mode in MODES if requested[mode]]

    def _config(self, setup: BenchmarkSetup, agent: str, world_model: str, precision: str) -> RunConfig:
        values = {
            "agent.matmul_precision": precision,
            "agent.hidden_size": self.hidden_size,
            "training.batch_size": self.batch_size,
            "synthesis.horizon": HORIZON,
            "replay.real_ratio": 0.0,
        }
        return setup.config(world_model, agent, **values)


Build = Callable[[BenchmarkSetup, RunConfig], Call]


def _work(
    name: str, baseline: str | None, build: Build, setup: BenchmarkSetup, config: RunConfig, num_members: int = 1
) -> Workload:
    return Workload(name, partial(build, setup, config), UPDATES_PER_CALL * num_members, baseline)


def learning(setup: BenchmarkSetup, config: RunConfig, num_members: int = 1) -> Call:
    """Learn from the batches of a run. Raise ValueError if this machine cannot run updates as the options select."""
    return partial(setup.learner(config, num_members).run, UPDATES_PER_CALL)


def inline(setup: BenchmarkSetup, config: RunConfig) -> Call:
    """Learn from segments that are generated within each update."""
    return partial(setup.inline_learner(config).run, UPDATES_PER_CALL)

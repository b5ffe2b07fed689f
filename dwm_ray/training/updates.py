"""Execute the updates of a population: eagerly, compiled by torch, or as CUDA graphs.

Compiled updates (`execution.compiled`) differ in rounding; their noise is sampled beforehand because a compiler cannot
trace generators. The first update of each kind runs eagerly, since optimisers allocate their moments then.
"""

from collections.abc import Callable
from functools import partial
from itertools import count
from types import FunctionType
from typing import Protocol

import torch

from dwm_ray.agents.parts.noise import Noise
from dwm_ray.agents.parts.population import MemberGenerators, Population
from dwm_ray.cuda_graphs import Graphs, capture_on
from dwm_ray.devices import product_dtype
from dwm_ray.options import ExecutionConfig
from dwm_ray.types import Metrics, Segments

COMPILED, CUDA_GRAPHS = "execution.compiled", "execution.cuda_graphs"
NUMBERS = count()
Learn = Callable[[Segments, Noise, int], Metrics]


class Updates(Protocol):
    """Callable that performs updates. All batches occupy the same memory."""

    def __call__(self, batch: Segments) -> Metrics:
        """Perform one update; return metrics [P] on the device, in memory that the next update may overwrite."""

    def forget(self) -> None:
        """Drop references to replaced tensors of the population or its optimisers."""


def updates_of(population: Population, generators: MemberGenerators, execution: ExecutionConfig) -> Updates:
    """Return the `Updates` for the options; raise ValueError if the agent or the device does not support them."""
    if execution.compiled and execution.cuda_graphs:
        raise ValueError(f"{COMPILED}: cannot be combined with {CUDA_GRAPHS}; expected False")
    if execution.cuda_graphs:
        return CudaGraphed(population, generators)
    return Compiled(population, generators) if execution.compiled else Eager(population, generators)


class Eager:
    """Run updates eagerly."""

    def __init__(self, population: Population, generators: MemberGenerators) -> None:
        self._population, self._generators = population, generators

    def __call__(self, batch: Segments) -> Metrics:
        return self._population.learn(batch, self._generators, self._population.next_update_kind())

    def forget(self) -> None:
        pass


class CudaGraphed:
    """Record each kind of update as a CUDA graph and replay it with one launch; see `cuda_graphs`."""

    def __init__(self, population: Population, generators: MemberGenerators) -> None:
        agent = population.members[0]
        if not agent.supports_cuda_graphs:
            raise ValueError(
                f"{CUDA_GRAPHS}: agent {agent.config.plugin_name()!r} does not support CUDA graphs; expected False"
            )
        self._population, self._generators = population, generators
        self._graphs: Graphs[Metrics] = Graphs(capture_on(generators[0].device, CUDA_GRAPHS), generators, CUDA_GRAPHS)
        self.forget = self._graphs.forget

    def __call__(self, batch: Segments) -> Metrics:
        kind = self._population.next_update_kind()
        return self._graphs(kind, partial(self._population.learn, batch, self._generators, kind))


class Compiled:
    """Compile `learn` as a whole with torch.compile; graph breaks are errors."""

    def __init__(self, population: Population, generators: MemberGenerators) -> None:
        self._population, self._generators = population, generators
        _trace_gradients()
        torch.compiler.assume_constant_result(product_dtype)  # not in its module, where it would import the compiler
        self._learn = torch.compile(_with_own_code(population.learn), fullgraph=True, dynamic=False)
        self.forget()

    def forget(self) -> None:
        self._seen: set[int] = set()

    def __call__(self, batch: Segments) -> Metrics:
        kind = self._population.next_update_kind()
        noise = self._population.sample_noise(batch, self._generators)
        if kind in self._seen:
            return self._compiled(batch, noise, kind)
        self._seen.add(kind)
        return self._population.learn(batch, noise, kind)

    def _compiled(self, batch: Segments, noise: Noise, kind: int) -> Metrics:
        try:
            return self._learn(batch, noise, kind)
        except torch._dynamo.exc.TorchDynamoException as error:
            cause = " ".join(str(error).split("\n\n")[0].split())
            raise ValueError(f"{COMPILED}: torch cannot compile an update here ({cause}); expected False") from error


def _trace_gradients() -> None:
    """Enable tracing of `torch.autograd.grad` in torch.compile; raise ValueError if this torch cannot do it."""
    if not hasattr(torch._dynamo.config, "trace_autograd_ops"):
        raise ValueError(f"{COMPILED}: torch {torch.__version__} does not compile gradients; expected 2.13, or False")
    torch._dynamo.config.trace_autograd_ops = True


def _with_own_code(learn: Learn) -> Learn:
    """Copy the function's code object: torch caches a limited number of compiled variants per code object."""

    def call(batch: Segments, noise: Noise, kind: int) -> Metrics:
        return learn(batch, noise, kind)

    code = call.__code__.replace(co_name=f"learn_{next(NUMBERS)}")
    return FunctionType(code, call.__globals__, closure=call.__closure__)

"""How the updates of an agent or a population are made: operation by operation, as CUDA graphs, or compiled.

Whichever it is, an update is what `learn` says. In compiled ones (`execution.compiled`) torch has made loops of all
that is between the products, so they differ in rounding; noise is drawn before, for a compiler cannot see generators.
The first update of each kind is made as it is: optimisers make their moments then.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import count
from types import FunctionType
from typing import Any, Protocol

import torch

from dwm_ray.agents.base import Agent
from dwm_ray.agents.parts.noise import Generators, Noise
from dwm_ray.agents.parts.population import Population
from dwm_ray.cuda_graphs import Graphs
from dwm_ray.options import ExecutionConfig
from dwm_ray.training.graphed import update_graphs
from dwm_ray.types import Metrics, Segments

OPTION = "execution.compiled"
NUMBERS = count()
EAGER = ExecutionConfig()
Learn = Callable[[Segments, Noise, int], Metrics]


class Updates(Protocol):
    """Makes updates."""

    in_place: bool
    """Does every batch have to lie where the first one lay?"""

    def __call__(self, batch: Segments) -> Metrics:
        """One update; metrics are on the device, in memory that the next update may overwrite."""

    def forget(self) -> None:
        """Tensors of the learner or its optimisers lie elsewhere now."""


def updates_of(
    learner: Agent | Population, agent: Agent, generators: Generators, execution: ExecutionConfig
) -> Updates:
    """Those that `execution` asks for; `agent` is the learner or a member of it. ValueError where it cannot have
    them."""
    if execution.compiled and execution.cuda_graphs:
        raise ValueError(f"{OPTION}: expected False where execution.cuda_graphs is True")
    if execution.cuda_graphs:
        every = (generators,) if isinstance(generators, torch.Generator) else generators
        return Replayed(learner, generators, update_graphs(agent, every))
    return Compiled(learner, generators) if execution.compiled else Stepwise(learner, generators)


class Stepwise:
    """Operation by operation."""

    in_place = False

    def __init__(self, learner: Any, generators: Generators) -> None:
        self._learner, self._generators = learner, generators

    def __call__(self, batch: Segments) -> Metrics:
        return self._learner.update(batch, self._generators)

    def forget(self) -> None:
        pass


class Replayed:
    """CUDA graphs; see `graphs`."""

    in_place = True

    def __init__(self, learner: Any, generators: Generators, graphs: Graphs[Metrics]) -> None:
        self._learner, self._generators, self._graphs = learner, generators, graphs
        self.forget = graphs.forget

    def __call__(self, batch: Segments) -> Metrics:
        kind = self._learner.next_update_kind()
        return self._graphs(kind, partial(self._learner.learn, batch, self._generators, kind))


class Compiled:
    """torch.compile of `learn`, whole: what torch would leave out of it is an error."""

    in_place = False

    def __init__(self, learner: Any, generators: Generators) -> None:
        self._learner, self._generators = learner, generators
        _trace_gradients()
        self._learn = torch.compile(_with_own_code(learner.learn), fullgraph=True, dynamic=False)
        self.forget()

    def forget(self) -> None:
        self._seen: set[int] = set()

    def __call__(self, batch: Segments) -> Metrics:
        kind, noise = self._learner.next_update_kind(), self._learner.sample_noise(batch, self._generators)
        if kind in self._seen:
            return self._compiled(batch, noise, kind)
        self._seen.add(kind)
        return self._learner.learn(batch, noise, kind)

    def _compiled(self, batch: Segments, noise: Noise, kind: int) -> Metrics:
        """ValueError where torch cannot compile it here."""
        try:
            return self._learn(batch, noise, kind)
        except torch._dynamo.exc.TorchDynamoException as error:
            cause = " ".join(str(error).split("\n\n")[0].split())
            raise ValueError(f"{OPTION}: torch cannot compile an update here ({cause}); expected False") from error


def _trace_gradients() -> None:
    """An update takes its gradients itself, which torch's compiler follows on request. ValueError for a torch that
    cannot."""
    if not hasattr(torch._dynamo.config, "trace_autograd_ops"):
        raise ValueError(f"{OPTION}: torch {torch.__version__} does not compile gradients; expected 2.13, or False")
    torch._dynamo.config.trace_autograd_ops = True


def _with_own_code(learn: Learn) -> Learn:
    """The same function as nobody else has it: torch keeps what it has compiled by code object, but a few for each, and
    a process may train many agents, one after the other."""

    def call(batch: Segments, noise: Noise, kind: int) -> Metrics:
        return learn(batch, noise, kind)

    code = call.__code__.replace(co_name=f"learn_{next(NUMBERS)}")
    return FunctionType(code, call.__globals__, closure=call.__closure__)

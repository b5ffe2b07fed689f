"""CUDA graphs: the kernels of one call of a function, recorded once and from then on started by a single launch.

A graph is a fixed sequence of kernels on fixed memory. So a function that is recorded reads from tensors that stay in
place, does the same operations whatever the data, and never waits for the GPU; Python within it runs only while it is
recorded, and what it returned then is overwritten by every replay. A function whose operations alternate has a graph
for each kind of call. Random numbers are those that calls would draw: generators go on from replay to replay.

The first calls of each kind are made as they are, and count: libraries prepare themselves, and optimisers make their
moments, which must not lie in memory that a graph fills anew. Who replaces a tensor afterwards (the moments, when a run
resumes) has to `forget` the graphs.

Differences from `torch.cuda.make_graphed_callables`: backward pass, optimiser step and noise are inside the graph. No
GPU was at hand when this was written: tests put an emulation in the place of `CudaCapture`, which records operations
and repeats them on the same memory.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from typing import Generic, Protocol, TypeVar

import torch

T = TypeVar("T")

WARM_UPS = 3
"""Calls of a kind before it is recorded; one makes the moments, the others are for libraries that try variants."""


class Capture(Protocol):
    """Who records."""

    def eagerly(self, call: Callable[[], T]) -> T:
        """The call as it is, where recording will take place."""

    def record(self, call: Callable[[], T], generators: Sequence[torch.Generator]) -> tuple[T, Callable[[], None]]:
        """What the call returned, not yet filled, and the replay that fills it; nothing has been done or drawn."""


class CudaCapture:
    """Records on a stream of its own."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream = torch.cuda.Stream(device)

    def eagerly(self, call: Callable[[], T]) -> T:
        """Work before it is done when it begins, and it when work after it begins."""
        current = torch.cuda.current_stream(self._device)
        self._stream.wait_stream(current)
        with torch.cuda.stream(self._stream):
            result = call()
        current.wait_stream(self._stream)
        return result

    def record(self, call: Callable[[], T], generators: Sequence[torch.Generator]) -> tuple[T, Callable[[], None]]:
        """Other threads, such as a feed that fills the ring, may use the GPU meanwhile. Each graph has memory of its
        own, so that kinds may follow each other in any order."""
        graph = torch.cuda.CUDAGraph()
        for generator in generators:
            graph.register_generator_state(generator)
        with torch.cuda.graph(graph, stream=self._stream, capture_error_mode="thread_local"):
            result = call()
        return result, graph.replay


def expect_gpu(device: torch.device, option: str) -> None:
    """ValueError, which names the option that asks for graphs, where the device has none."""
    if device.type != "cuda":
        raise ValueError(f"{option}: CUDA graphs need a GPU, and this is the device {device}; expected False")


def capture_on(device: torch.device, option: str) -> Capture:
    """For graphs that an option asks for; ValueError where the device has none."""
    expect_gpu(device, option)
    return CudaCapture(device)


class Graphs(Generic[T]):
    """The graphs of one function, by kind of call."""

    def __init__(self, capture: Capture, generators: Sequence[torch.Generator], option: str) -> None:
        """`generators` are all that calls draw from; `option` is named where a call cannot be recorded."""
        self._capture, self._generators, self._option = capture, tuple(generators), option
        self.forget()

    def forget(self) -> None:
        """Begin anew: a tensor that the function reads or writes lies elsewhere now."""
        self._made: Counter[Hashable] = Counter()
        self._recorded: dict[Hashable, tuple[T, Callable[[], None]]] = {}

    def __call__(self, kind: Hashable, call: Callable[[], T]) -> T:
        """The call, made as it is or replayed; results hold until the next one. Calls of a kind are the same operations
        on the same memory. ValueError where torch cannot record it."""
        if self._made[kind] < WARM_UPS:
            self._made[kind] += 1
            return self._capture.eagerly(call)
        if kind not in self._recorded:
            self._recorded[kind] = self._record(call)
        result, replay = self._recorded[kind]
        replay()
        return result

    def _record(self, call: Callable[[], T]) -> tuple[T, Callable[[], None]]:
        try:
            return self._capture.record(call, self._generators)
        except RuntimeError as error:
            first = _first(error)
            if isinstance(first, torch.OutOfMemoryError):
                raise first from None  # callers know what to do about it
            cause = " ".join(str(first).split())
            raise ValueError(f"{self._option}: this cannot be a CUDA graph ({cause}); expected False") from error


def _first(error: BaseException) -> BaseException:
    """What went wrong first: after an error torch ends the recording, which fails for that very reason."""
    while error.__context__ is not None:
        error = error.__context__
    return error

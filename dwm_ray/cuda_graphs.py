"""CUDA graphs: the kernels of one call of a function, recorded once and then started by a single launch.

A graph is a fixed sequence of kernels on fixed memory. A recorded function reads from tensors that stay in place, does
the same operations for all data, and never waits for the GPU. Its Python code runs only while it is recorded, and every
replay overwrites the results. A function with several kinds of call has one graph per kind. Random numbers equal
those of eager calls: generators advance from replay to replay.

The first calls of each kind run eagerly: libraries initialise themselves, and optimisers create their moments, which
must not lie in memory that a graph overwrites. Call `Graphs.forget` after replacing such a tensor (the moments, when a
run resumes).

Differences from `torch.cuda.make_graphed_callables`: backward pass, optimiser step and noise are inside the graph.
Tests replace `CudaCapture` with an emulation that records operations and repeats them on the same memory.
"""

from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from typing import Generic, Protocol, TypeVar

import torch

T = TypeVar("T")

WARM_UPS = 3
"""Eager calls of a kind before it is recorded: one creates the moments, the others serve libraries that autotune."""


class Capture(Protocol):
    """Recorder of graphs."""

    def run_eagerly(self, call: Callable[[], T]) -> T:
        """Run a call without recording it, on the stream that records."""

    def record(self, call: Callable[[], T], generators: Sequence[torch.Generator]) -> tuple[T, Callable[[], None]]:
        """Record a call; return its results, which are not yet computed, and the replay that computes them."""


class CudaCapture:
    """Recorder on a CUDA stream of its own."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream = torch.cuda.Stream(device)

    def run_eagerly(self, call: Callable[[], T]) -> T:
        """Run a call on the recording stream, after earlier work and before later work of the current stream."""
        current = torch.cuda.current_stream(self._device)
        self._stream.wait_stream(current)
        with torch.cuda.stream(self._stream):
            result = call()
        current.wait_stream(self._stream)
        return result

    def record(self, call: Callable[[], T], generators: Sequence[torch.Generator]) -> tuple[T, Callable[[], None]]:
        """Record a call, in separate memory, while other threads such as a prefetcher may use the GPU."""
        graph = torch.cuda.CUDAGraph()
        for generator in generators:
            graph.register_generator_state(generator)
        with torch.cuda.graph(graph, stream=self._stream, capture_error_mode="thread_local"):
            result = call()
        return result, graph.replay


def expect_gpu(device: torch.device, option: str) -> None:
    """Raise ValueError, naming the option that enables graphs, if the device is not a GPU."""
    if device.type != "cuda":
        raise ValueError(f"{option}: CUDA graphs need a GPU, not device {device}; expected False")


def capture_on(device: torch.device, option: str) -> Capture:
    """Return a recorder for graphs; raise ValueError, naming the option, if the device is not a GPU."""
    expect_gpu(device, option)
    return CudaCapture(device)


class Graphs(Generic[T]):
    """Graphs of one function, one per kind of call; `generators` are all generators that calls use."""

    def __init__(self, capture: Capture, generators: Sequence[torch.Generator], option: str) -> None:
        self._capture, self._generators, self._option = capture, tuple(generators), option
        self.forget()

    def forget(self) -> None:
        """Drop all graphs, because a tensor that the function reads or writes has moved."""
        self._made: Counter[Hashable] = Counter()
        self._recorded: dict[Hashable, tuple[T, Callable[[], None]]] = {}

    def __call__(self, kind: Hashable, call: Callable[[], T]) -> T:
        """Run or replay a call; its results are valid until the next one.

        All calls of a kind must be the same operations on the same memory.

        Raises:
            ValueError: torch cannot record the call.
        """
        if self._made[kind] < WARM_UPS:
            self._made[kind] += 1
            return self._capture.run_eagerly(call)
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
                raise first from None  # callers handle it
            cause = " ".join(str(first).split())
            raise ValueError(
                f"{self._option}: the call cannot be captured as a CUDA graph ({cause}); expected False"
            ) from error


def _first(error: BaseException) -> BaseException:
    """Return the original error; torch raises another one when it ends a failed recording."""
    while error.__context__ is not None:
        error = error.__context__
    return error

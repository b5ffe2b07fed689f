"""Emulation of CUDA graphs without a GPU: operations are recorded at dispatch and repeated on the same memory.

As on a GPU, recording computes nothing: memory that existed before and generators are restored, and new tensors hold no
values until the first replay. A replay runs no Python code of the function and writes to the recorded memory. The
emulation covers neither kernels nor streams nor tensors on the wrong device.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

T = TypeVar("T")

WAITS = {"_local_scalar_dense", "is_nonzero", "item", "equal"}
"""Operations that read a number on the host."""
SHAPED_BY_DATA = {"nonzero", "masked_select", "unique", "_unique", "_unique2", "unique_dim", "unique_consecutive"}
SHAPED_BY_DATA |= {"repeat_interleave", "bincount"}
FROM_THE_HOST = {"lift_fresh", "lift_fresh_copy", "lift"}
"""A Python number becomes a tensor: on a GPU, a copy from memory that is freed before the graph is replayed."""


class Tape(TorchDispatchMode):
    """One recorded call."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[Any, tuple[Any, ...], dict[str, Any], Any]] = []
        self._fresh: list[Tensor] = []
        self._made: set[int] = set()
        self._written: dict[int, tuple[Tensor, Tensor]] = {}
        self._states: dict[int, tuple[torch.Generator, Tensor]] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        self._remember(func, args, kwargs)
        out = func(*args, **kwargs)
        self.calls.append((func, args, kwargs, out))
        inputs = {place(x) for x in tensors((args, kwargs))}
        new = [x for x in tensors(out) if place(x) not in inputs]
        self._fresh += new
        self._made |= {place(x) for x in new}
        return out

    def _remember(self, func: Any, args: Any, kwargs: Any) -> None:
        """Save what the operation overwrites, and the state of its generator."""
        if generator := kwargs.get("generator"):
            self._states.setdefault(generator._cdata, (generator, generator.get_state()))
        for x in written(func, args, kwargs):
            if place(x) not in self._made and place(x) not in self._written:
                memory = torch.empty(0, dtype=torch.uint8).set_(x.untyped_storage())
                self._written[place(x)] = memory, memory.clone()

    @property
    def generators(self) -> set[int]:
        """Addresses of the generators in use; Python objects of one generator may differ."""
        return set(self._states)

    @property
    def names(self) -> list[str]:
        return [func._overloadpacket.__name__ for func, *_ in self.calls]

    @torch.no_grad()
    def undo(self) -> None:
        """Restore the state before the call."""
        for memory, before in self._written.values():
            memory.copy_(before)
        for generator, state in self._states.values():
            generator.set_state(state)
        for x in self._fresh:
            x.fill_(torch.nan if x.is_floating_point() else 0)

    @torch.no_grad()
    def replay(self) -> None:
        """Repeat the operations on the same memory."""
        for func, args, kwargs, out in self.calls:
            inputs = {place(x) for x in tensors((args, kwargs))}
            for old, new in zip(tensors(out), tensors(func(*args, **kwargs)), strict=True):
                if place(old) not in inputs:
                    old.copy_(new)


class EmulatedCapture:
    """Stand-in for `cuda_graphs.CudaCapture`."""

    def __init__(self) -> None:
        self.tapes: list[Tape] = []
        self.num_eager = 0

    def run_eagerly(self, call: Callable[[], T]) -> T:
        self.num_eager += 1
        return call()

    def record(self, call: Callable[[], T], generators: Sequence[torch.Generator]) -> tuple[T, Callable[[], None]]:
        """Record a call; raise RuntimeError, as torch does, if a GPU could not record it."""
        tape = Tape()
        with tape:
            result = call()
        self.tapes.append(tape)
        tape.undo()
        for name in tape.names:
            if name in WAITS | SHAPED_BY_DATA | FROM_THE_HOST:
                raise RuntimeError(f"operation not permitted when stream is capturing: {name}")
        for func, args, *_ in tape.calls:
            if func._overloadpacket.__name__ in ("index", "index_put_", "index_put") and shaped_by_mask(args):
                raise RuntimeError("operation not permitted when stream is capturing: a mask as an index")
        if not tape.generators <= {generator._cdata for generator in generators}:
            raise RuntimeError("Attempt to use a generator that was not registered with the graph")
        return result, tape.replay


def place(x: Tensor) -> int:
    """Return the address of a tensor's memory, which is not freed while a tape holds the tensor."""
    return x.untyped_storage()._cdata


def tensors(tree: Any) -> list[Tensor]:
    return [x for x in tree_leaves(tree) if isinstance(x, Tensor)]


def written(func: Any, args: Any, kwargs: Any) -> Iterator[Tensor]:
    """Yield the arguments that an operation writes to."""
    for index, argument in enumerate(func._schema.arguments):
        if argument.alias_info is not None and argument.alias_info.is_write:
            value = args[index] if index < len(args) else kwargs.get(argument.name)
            yield from tensors(value)


def shaped_by_mask(args: Any) -> bool:
    return any(x.dtype == torch.bool for x in tensors(args[1]))

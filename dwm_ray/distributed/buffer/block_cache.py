"""References of blocks, as many as fit: what is taken from the shelf longest ago is let go, and read again when wanted.

Ray keeps a block in the object store while somebody holds a reference to it, so the buffer's share of the store is what
is on its shelf.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from typing import Any

import ray

from dwm_ray.blocks import block_files
from dwm_ray.distributed.buffer.stream import Stream


class BlockCache:
    """The blocks of all streams of a buffer."""

    def __init__(self, run: block_files.Run, limit_bytes: int) -> None:
        self._run, self._limit = run, limit_bytes
        self._refs: OrderedDict[tuple[str, int], tuple[Any, int]] = OrderedDict()
        self.num_bytes = 0

    def __len__(self) -> int:
        return len(self._refs)

    async def take(self, stream: Stream, index: int) -> list[Any]:
        """[ref] of a block, from the object store or as it is stored; in a list, so that Ray hands on the ref."""
        place = (stream.spec.fingerprint, index)
        if place not in self._refs:
            rows = await asyncio.to_thread(block_files.read_block, self._run, stream.spec, index)
            self.put(stream, index, ray.put(rows), rows.nbytes)
        self._refs.move_to_end(place)
        return [self._refs[place][0]]

    def put(self, stream: Stream, index: int, ref: Any, num_bytes: int) -> None:
        """Keep a block's reference."""
        self.remove(stream, index)
        self._refs[(stream.spec.fingerprint, index)] = (ref, num_bytes)
        self.num_bytes += num_bytes

    def remove(self, stream: Stream, index: int) -> None:
        """Let a block's reference go, if it is there."""
        _, num_bytes = self._refs.pop((stream.spec.fingerprint, index), (None, 0))
        self.num_bytes -= num_bytes

    def tidy(self) -> None:
        """Let go of the references taken longest ago until the rest fits; Ray frees a block when no reader holds it."""
        while self.num_bytes > self._limit and len(self._refs) > 1:
            _, (_, num_bytes) = self._refs.popitem(last=False)
            self.num_bytes -= num_bytes

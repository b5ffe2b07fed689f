"""Cache of block references, limited in bytes; the least recently used block is evicted first.

Ray retains a block in the object store as long as a reference to it exists, so the size of the cache bounds the
buffer's memory in the store. Evicted blocks are read from the run's folder or storage when they are needed again.
"""

import asyncio
from collections import OrderedDict
from typing import Any

import ray

from dwm_ray.blocks import block_files
from dwm_ray.distributed.buffer.stream import BufferedStream


class BlockCache:
    """References to blocks of all streams of a buffer."""

    def __init__(self, run: block_files.Run, limit_bytes: int) -> None:
        self._run, self._limit = run, limit_bytes
        self._refs: OrderedDict[tuple[str, int], tuple[Any, int]] = OrderedDict()
        self.num_bytes = 0

    async def get(self, stream: BufferedStream, index: int) -> list[Any]:
        """Return [reference] of a stored block; in a list, because Ray would resolve a bare reference."""
        key = (stream.spec.fingerprint, index)
        if key not in self._refs:
            rows = await asyncio.to_thread(block_files.read_block, self._run, stream.spec, index)
            self.put(stream, index, ray.put(rows), rows.nbytes)
        self._refs.move_to_end(key)
        return [self._refs[key][0]]

    def put(self, stream: BufferedStream, index: int, ref: Any, num_bytes: int) -> None:
        """Add a block's reference."""
        self.remove(stream, index)
        self._refs[(stream.spec.fingerprint, index)] = (ref, num_bytes)
        self.num_bytes += num_bytes

    def remove(self, stream: BufferedStream, index: int) -> None:
        """Remove a block's reference if it is cached."""
        _, num_bytes = self._refs.pop((stream.spec.fingerprint, index), (None, 0))
        self.num_bytes -= num_bytes

    def evict(self) -> None:
        """Remove references until the rest fits; Ray frees a block when no reader holds it either."""
        while self.num_bytes > self._limit and len(self._refs) > 1:
            _, (_, num_bytes) = self._refs.popitem(last=False)
            self.num_bytes -= num_bytes

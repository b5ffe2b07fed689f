"""Shared synthetic replay buffer: an index of blocks in Ray's object store.

                  generate(spec, index)                     fetch(stream, cursor)
    Sampler 1..n  <------------------  SyntheticReplayBuffer  <------------------  learners' prefetchers
                  ------------------>   ledger per stream     ------------------>
                    rows, meta (refs)    refs, counters          [refs], complete

The buffer pulls: one task per sampler requests the next wanted block (`sampler_tasks`). The buffer therefore owns the
returned values, and blocks survive their sampler. Learners receive references, not data. A block is stored in the
run's folder or storage before it is accepted; references beyond `buffer_bytes` are evicted (`block_cache`). A restarted
buffer restores its state: blocks from their files, and their order, totals and cursor positions from the stream's
journal, which is pushed to the storage periodically and at the end.

| waiting task   | waits for                                     | unblocked by                                   |
|----------------|-----------------------------------------------|------------------------------------------------|
| sampler task   | a wanted block (prefetch limit not reached)   | a reader that opens or advances its cursor     |
| reader's fetch | a block beyond its cursor                     | an accepted block, the stream's end or failure |

A waiting fetch returns `GATHER_S` after a block has arrived, with all blocks that have arrived by then.
"""

import asyncio
import contextlib
from collections import defaultdict

from dwm_ray.blocks import block_files
from dwm_ray.blocks.journal import Journal, load_journals, total_counters
from dwm_ray.blocks.stream import StreamSpec
from dwm_ray.distributed.buffer.block_cache import BlockCache
from dwm_ray.distributed.buffer.conditions import Condition, Debounced
from dwm_ray.distributed.buffer.sampler_tasks import SamplerTasks
from dwm_ray.distributed.buffer.stream import BufferedStream, Delivery
from dwm_ray.distributed.metrics.gauges import Gauges, export_transfer_stats
from dwm_ray.runs.folder import RunFolder
from dwm_ray.runs.uploads import Upload

GATHER_S = 0.02
"""A response with several blocks costs as much as a response with one."""
GAUGES_INTERVAL_S = 1.0
"""Setting the gauges costs more than accepting a block, and Ray exports them every few seconds."""


def owner(stream: str, num_shards: int) -> int:
    """Return the index of the actor that owns a stream, given the stream's name."""
    return int(stream, 16) % num_shards


class SyntheticReplayBuffer:
    """Actor that owns the blocks of its streams; all methods run on one event loop, so no lock is needed."""

    def __init__(
        self,
        run: str,
        prefetch_limit: int,
        buffer_bytes: int,
        sampler_names: list[str],
        shard: int = 0,
        num_shards: int = 1,
    ) -> None:
        """Load the journals of those streams of the run at an address that belong to actor `shard`."""
        folder = RunFolder.at(run)
        self._run, self._root, self._prefetch_limit = folder.shared, folder.root, prefetch_limit
        self._streams: dict[str, BufferedStream] = {}
        self._upload = Upload(folder, folder.root / "streams")
        folder.pull(folder.root / "streams")
        self._journals = load_journals(folder.root, lambda stream: owner(stream, num_shards) == shard)
        self._cache = BlockCache(folder.shared, buffer_bytes)
        self._open_lock = asyncio.Lock()
        self._samplers = SamplerTasks(sampler_names, self._cache, self._claim, self._notify, self._fail)
        self._conditions: defaultdict[str, Condition] = defaultdict(lambda: Condition(GATHER_S))
        self._gauges = Gauges("buffer", {"run": folder.name, "shard": str(shard)})
        self._set_gauges = Debounced(lambda: self._gauges.set({**self.counters(), **self._levels()}), GAUGES_INTERVAL_S)
        export_transfer_stats(folder, f"buffer {shard}")
        self._error: str | None = None

    async def fetch(
        self, spec: StreamSpec, cursor: str, max_blocks: int, wait_s: float, position: int | None = None
    ) -> Delivery:
        """Return up to `max_blocks` blocks beyond the cursor; wait up to `wait_s` seconds for the first.

        `position` is the number of blocks that the reader has; later deliveries were lost with an earlier buffer.

        Raises:
            ValueError: The stream failed.
        """
        await self._samplers.wait_until_idle()
        stream = await self._open(spec, cursor)
        if position is not None:
            stream.ledger.reset_position(cursor, position)
        self._samplers.dispatch()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(wait_s):
                await self._conditions[spec.fingerprint].wait_for(lambda: self._ready(stream, cursor))
        if stream.error:
            raise ValueError(f"stream {spec.fingerprint} cannot be generated: {stream.error}")
        taken = stream.ledger.advance(cursor, max_blocks)
        if taken:
            stream.record_cursor(cursor)
        blocks = [(index, await self._cache.get(stream, index)) for index in taken]
        self._cache.evict()
        self._samplers.dispatch()
        self._set_gauges()
        return Delivery(blocks, stream.shape, stream.ledger.finished(cursor))

    async def close(self, spec: StreamSpec, cursor: str) -> None:
        """Close a reader's cursor."""
        stream = self._streams.get(spec.fingerprint)
        if stream is not None and cursor in stream.ledger.cursors:
            stream.record_cursor(cursor, is_open=False)
            stream.ledger.close_cursor(cursor)

    async def invalidate(self, spec: StreamSpec, index: int) -> None:
        """Drop the reference of a block that was lost with its node; the next reader gets the stored block."""
        if (stream := self._streams.get(spec.fingerprint)) is not None:
            self._cache.remove(stream, index)

    def counters(self) -> dict[str, int]:
        """Return the counters over all streams and sessions of the run."""
        return total_counters(self._journals.values())

    async def push_journals(self, force: bool) -> None:
        """Push the journals to the run's storage; without `force` only if they are due, and failures are ignored."""
        await asyncio.to_thread(self._upload.now if force else self._upload.if_due)

    async def _open(self, spec: StreamSpec, cursor: str) -> BufferedStream:
        """Return a stream with an open cursor; the first fetch, or the first one after a restart, loads the stream."""
        name = spec.fingerprint
        async with self._open_lock:
            if name not in self._streams:
                if name not in self._journals:
                    self._journals[name] = Journal(block_files.stream_folder(self._root, spec))
                self._streams[name] = await asyncio.to_thread(self._load, spec)
        stream = self._streams[name]
        stream.open_cursor(cursor)
        self._samplers.start()
        return stream

    def _load(self, spec: StreamSpec) -> BufferedStream:
        stream = BufferedStream.load(self._run, spec, self._prefetch_limit, self._journals[spec.fingerprint])
        if not stream.ledger.complete:
            stream.error = self._error
        return stream

    @staticmethod
    def _ready(stream: BufferedStream, cursor: str) -> bool:
        ledger = stream.ledger
        return bool(stream.error) or ledger.complete or ledger.cursors[cursor] < len(ledger.arrived)

    def _claim(self) -> tuple[BufferedStream, int] | None:
        """Claim a block of the stream with the fewest blocks among streams with unclaimed blocks."""
        candidates = [stream for stream in self._streams.values() if stream.needs_block]
        if not candidates:
            return None
        stream = min(candidates, key=lambda s: len(s.ledger.arrived))
        index = stream.ledger.claim()
        assert index is not None
        return stream, index

    def _notify(self, stream: BufferedStream) -> None:
        """Wake the readers of a stream after a request for one of its blocks has ended."""
        self._conditions[stream.spec.fingerprint].notify_debounced()
        self._set_gauges()

    def _fail(self, error: str) -> None:
        """Fail all incomplete streams, present and future."""
        self._error = error
        for stream in self._streams.values():
            if not stream.ledger.complete:
                stream.error = error
                self._conditions[stream.spec.fingerprint].notify()

    def _levels(self) -> dict[str, float]:
        """Return the values of the gauges that are not counters; see `gauges.FAMILIES`."""
        ledgers = [stream.ledger for stream in self._streams.values()]
        return {
            "segments_held": sum(sum(ledger.rows.values()) for ledger in ledgers),
            "resident_bytes": self._cache.num_bytes,
            "prefetch_blocks": max((ledger.ahead for ledger in ledgers if ledger.cursors), default=0),
            "blocks_in_flight": sum(len(ledger.in_flight) for ledger in ledgers),
            "readers": sum(len(ledger.cursors) for ledger in ledgers),
            "samplers_alive": len(self._samplers.names),
            "generating_s": sum(journal.seconds for journal in self._journals.values()),
        }

"""The shared synthetic replay buffer: an index of blocks that live in Ray's object store.

                    draw(spec, index)                       fetch(stream, cursor)
    Sampler 1..n  <------------------  SyntheticReplayBuffer  <------------------  learners' feeds
                  ------------------>   ledger per stream     ------------------>
                    rows, meta (refs)    refs, counters          [refs], done?

It pulls: one task per sampler asks for the next wanted block, so the buffer owns what comes back and blocks survive
their sampler. Learners take references, never data, through here. A block is stored, in the run's folder or storage,
before it is accepted; beyond `buffer_bytes` references of blocks are let go (`shelf`). A buffer that was killed starts
again from what is stored: blocks from their files, their order, totals and how far each cursor stood from the stream's
account (`accounts`), which lies beside the buffer and is sent to the storage now and then and at the end.

| waits          | for                                 | unblocked by                                    |
|----------------|-------------------------------------|-------------------------------------------------|
| sampler task   | a wanted block (lead not used up)    | a reader that opens or advances its cursor      |
| reader's fetch | a block beyond its cursor            | an accepted block, the stream's end or failure  |

Who waited is answered `GATHER_S` after the block came, with all that came meanwhile.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import ray
from ray.exceptions import ActorUnavailableError, RayActorError, RayTaskError

from dwm_ray.blocks import block_files
from dwm_ray.blocks.journal import Journal, journals_of, totals
from dwm_ray.blocks.stream import StreamSpec
from dwm_ray.distributed.buffer.block_cache import BlockCache
from dwm_ray.distributed.buffer.conditions import Bell, Desk, Soon
from dwm_ray.distributed.buffer.stream import Delivery, Stream
from dwm_ray.distributed.metrics.gauges import Gauges
from dwm_ray.distributed.workers.sync import Sender, export_transfer_stats
from dwm_ray.runs.folder import RunFolder

RETRY_PAUSE_S = 1.0
GATHER_S = 0.02
"""Where blocks come fast, an answer holds several: it costs as much as one with a single block."""
GAUGES_EVERY_S = 1.0
"""To set the gauges costs more than to book a block, and Ray exports them every few seconds."""
SETTLE_S = 60.0
"""Most that a restarted buffer waits for blocks that are being drawn."""


class SyntheticReplayBuffer:
    """See the module. All methods run on one event loop, so no lock is needed."""

    def __init__(
        self,
        run: str,
        prefetch_blocks: int,
        buffer_bytes: int,
        sampler_names: list[str],
        is_mine: Callable[[str], bool] = lambda stream: True,
        shard: int = 0,
    ) -> None:
        """`run` is its address. Where it has several actors (`shards`), `is_mine` tells by a stream's name whether it
        is this one's, which is number `shard`."""
        folder = RunFolder.at(run)
        self._run, self._here, self._lead = folder.shared, folder.root, prefetch_blocks
        self._sampler_names = sampler_names
        self._streams: dict[str, Stream] = {}
        self._sender = Sender(folder, folder.root / "streams")
        folder.pull(folder.root / "streams")
        self._accounts = journals_of(folder.root, is_mine)
        self._shelf = BlockCache(folder.shared, buffer_bytes)
        self._opening = asyncio.Lock()
        self._desk = Desk(self._next_wanted)
        self._bells: defaultdict[str, Bell] = defaultdict(lambda: Bell(GATHER_S))
        self._gauges = Gauges("buffer", {"run": folder.name, "shard": str(shard)})
        self._tell = Soon(lambda: self._gauges.set({**self.counters(), **self._levels()}), GAUGES_EVERY_S)
        export_transfer_stats(folder, f"buffer {shard}")
        self._pulls: set[asyncio.Task[None]] = set()
        self._fault: str | None = None
        self._settled = not ray.get_runtime_context().was_current_actor_reconstructed

    async def _settle(self) -> None:
        """After a restart, wait until the samplers have done what the buffer before had asked for: their blocks are
        stored then, and are found there instead of drawn twice."""
        if not self._settled:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(SETTLE_S):
                    await asyncio.gather(*(_idle(ray.get_actor(name)) for name in self._sampler_names))
            self._settled = True

    async def _open(self, spec: StreamSpec, cursor: str) -> Stream:
        """The stream of a specification, with a cursor at its first block if the reader has none yet. A restarted
        buffer knows no stream: the first fetch opens it again from what is stored; cursors stand where they stood."""
        name = spec.fingerprint
        async with self._opening:
            if name not in self._streams:
                if name not in self._accounts:
                    self._accounts[name] = Journal(block_files.stream_folder(self._here, spec))
                self._streams[name] = await asyncio.to_thread(self._load, spec)
        stream = self._streams[name]
        stream.open(cursor)
        if not self._pulls:
            self._pulls = {asyncio.create_task(self._pull_or_give_up(name)) for name in self._sampler_names}
        return self._streams[name]

    def _load(self, spec: StreamSpec) -> Stream:
        stream = Stream.load(self._run, spec, self._lead, self._accounts[spec.fingerprint])
        if not stream.ledger.complete:
            stream.error = self._fault
        return stream

    async def forget(self, spec: StreamSpec, index: int) -> None:
        """A reader found the block gone with the node that held it: the next one gets it from where it is stored."""
        if (stream := self._streams.get(spec.fingerprint)) is not None:
            self._shelf.remove(stream, index)

    async def close(self, spec: StreamSpec, cursor: str) -> None:
        """A reader is done."""
        stream = self._streams.get(spec.fingerprint)
        if stream is not None and cursor in stream.ledger.cursors:
            stream.record(cursor, is_open=False)
            stream.ledger.close_cursor(cursor)

    async def fetch(
        self, spec: StreamSpec, cursor: str, most: int, wait_s: float, position: int | None = None
    ) -> Delivery:
        """Up to `most` blocks beyond the cursor; waits up to `wait_s` for the first. `position` is how many blocks the
        reader has: what an earlier answer held beyond them was lost with the buffer that gave it. ValueError when the
        stream was given up."""
        await self._settle()
        stream = await self._open(spec, cursor)
        if position is not None:
            stream.ledger.stand_at(cursor, position)
        self._desk.hand_out()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(wait_s):
                await self._bells[spec.fingerprint].wait(lambda: self._ready(stream, cursor))
        if stream.error:
            raise ValueError(f"stream {spec.fingerprint} cannot be drawn: {stream.error}")
        taken = stream.ledger.take(cursor, most)
        if taken:
            stream.record(cursor)
        blocks = [(index, await self._shelf.take(stream, index)) for index in taken]
        self._shelf.tidy()
        self._desk.hand_out()
        self._tell()
        return Delivery(blocks, stream.shape, stream.ledger.finished(cursor))

    @staticmethod
    def _ready(stream: Stream, cursor: str) -> bool:
        ledger = stream.ledger
        return bool(stream.error) or ledger.complete or ledger.cursors[cursor] < len(ledger.arrived)

    async def _pull_or_give_up(self, sampler_name: str) -> None:
        """A fault in the buffer itself reaches the readers: they would wait for ever otherwise."""
        try:
            await self._pull(sampler_name)
        except Exception as error:
            self._give_up(f"the buffer failed: {error!r}")
            raise

    async def _pull(self, sampler_name: str) -> None:
        """Keep one sampler busy while any stream wants a block; ends when the sampler is gone for good."""
        sampler, alive = ray.get_actor(sampler_name), True
        while alive:
            stream, index = await self._desk.errand()
            alive = await self._draw(sampler_name, sampler, stream, index)
            self._booked(stream)
        self._sampler_names.remove(sampler_name)
        if not self._sampler_names:
            self._give_up("all samplers died; see their logs in the Ray dashboard")

    def _next_wanted(self) -> tuple[Stream, int] | None:
        """A block to draw, claimed: of those streams that want one, the one that has least."""
        wanting = [stream for stream in self._streams.values() if stream.wants_block]
        if not wanting:
            return None
        stream = min(wanting, key=lambda s: len(s.ledger.arrived))
        index = stream.ledger.next_wanted()
        assert index is not None
        return stream, index

    def _booked(self, stream: Stream) -> None:
        """A block of the stream came, or was given back, or will not come."""
        self._bells[stream.spec.fingerprint].ring_soon()
        self._desk.hand_out()
        self._tell()

    async def _draw(self, name: str, sampler: Any, stream: Stream, index: int) -> bool:
        """Have a block drawn; False when the sampler will never answer again. A failed block is wanted again: a
        restarted or another sampler draws the very same rows."""
        try:
            ref, meta_ref = sampler.draw.remote(stream.spec, index)
            await self._accept(stream, index, ref, await meta_ref, name)
        except ActorUnavailableError:
            await self._lost(stream, index)
            await asyncio.sleep(RETRY_PAUSE_S)
        except RayActorError:
            await self._lost(stream, index)
            return False
        except RayTaskError as error:
            stream.failed(index, error.cause)
            await asyncio.sleep(0.0 if stream.error else RETRY_PAUSE_S)
        return True

    async def _accept(self, stream: Stream, index: int, ref: Any, meta: dict[str, Any], sampler: str) -> None:
        if stream.accept(index, meta, sampler):
            self._shelf.put(stream, index, ref, meta["rows"] * meta["shape"].width * 4)
            self._shelf.tidy()
        if stream.ledger.complete:
            await asyncio.to_thread(stream.describe)

    async def _lost(self, stream: Stream, index: int) -> None:
        """A sampler died before it answered; it may have stored the block by then."""
        stream.lost(index, await asyncio.to_thread(block_files.rows_on_disk, self._run, stream.spec, index))
        if stream.ledger.complete:
            await asyncio.to_thread(stream.describe)

    def _give_up(self, why: str) -> None:
        """Tell the readers of all streams that are not whole, and those that come later."""
        self._fault = why
        for stream in self._streams.values():
            if not stream.ledger.complete:
                stream.error = why
                self._bells[stream.spec.fingerprint].ring()

    def _levels(self) -> dict[str, float]:
        """How full and how busy it is now; see `gauges.FAMILIES`."""
        ledgers = [stream.ledger for stream in self._streams.values()]
        return {
            "segments_held": sum(ledger.rows_accepted for ledger in ledgers),
            "resident_bytes": self._shelf.num_bytes,
            "prefetch_blocks": max((ledger.ahead for ledger in ledgers if ledger.cursors), default=0),
            "blocks_in_flight": sum(len(ledger.in_flight) for ledger in ledgers),
            "readers": sum(len(ledger.cursors) for ledger in ledgers),
            "samplers_alive": len(self._sampler_names),
            "generating_s": sum(account.seconds for account in self._accounts.values()),
        }

    def counters(self) -> dict[str, int]:
        """Rows in and out, over all streams and sessions of the run."""
        return totals(list(self._accounts.values()))

    async def save(self, at_once: bool) -> None:
        """Send the accounts to the run's storage, or only if the last time is a while ago. StorageFailed at once."""
        await asyncio.to_thread(self._sender.now if at_once else self._sender.now_and_then)


async def _idle(sampler: Any) -> None:
    """Ends when the sampler has done all that it was asked for so far, or is dead."""
    with contextlib.suppress(RayActorError):
        await sampler.idle.remote()

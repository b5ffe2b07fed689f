"""The shared synthetic replay buffer: an index of blocks that live in Ray's object store.

                    draw(spec, index)                       fetch(stream, cursor)
    Sampler 1..n  <------------------  SyntheticReplayBuffer  <------------------  learners' feeds
                  ------------------>   ledger per stream     ------------------>
                    rows, meta (refs)    refs, counters          [refs], done?

It pulls: one task per sampler asks for the next wanted block, so the buffer owns what comes back and blocks survive
their sampler. Learners take references, never data, through here. A block is stored, in the run's folder or storage,
before it is accepted; beyond `buffer_bytes` the references of blocks handed out longest ago are let go, and read back
when wanted again.

| waits          | for                                 | unblocked by                                    |
|----------------|-------------------------------------|-------------------------------------------------|
| sampler task   | a wanted block (lead not used up)    | a reader that opens or advances its cursor      |
| reader's fetch | a block beyond its cursor            | an accepted block, the stream's end or failure  |
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import OrderedDict
from dataclasses import asdict, dataclass, field
from typing import Any

import ray
from ray.exceptions import ActorUnavailableError, RayActorError, RayTaskError

from dwm_ray.distributed import spill
from dwm_ray.distributed.gauges import Gauges
from dwm_ray.distributed.sending import count_traffic
from dwm_ray.replay.streams import Ledger
from dwm_ray.run_folder import RunFolder
from dwm_ray.synthesis import StreamSpec
from dwm_ray.types import SegmentShape

RETRY_PAUSE_S = 1.0
MOST_FAILURES = 5
"""Failures in a row after which a stream is given up and its readers are told why."""


@dataclass
class _Stream:
    spec: StreamSpec
    ledger: Ledger
    shape: SegmentShape | None = None
    failures: int = 0
    error: str | None = None
    seconds: float = 0.0
    """Time that samplers spent on it."""
    restored: int = 0
    refs: dict[int, list[Any]] = field(default_factory=dict)


@dataclass(frozen=True)
class Delivery:
    """What a fetch brings: blocks as (index, [ref to rows]), their shape, and whether that was all."""

    blocks: list[tuple[int, list[Any]]]
    shape: SegmentShape | None
    complete: bool


class SyntheticReplayBuffer:
    """See the module. All methods run on one event loop, so no lock is needed."""

    def __init__(self, run: str, lead_blocks: int, buffer_bytes: int, sampler_names: list[str]) -> None:
        folder = RunFolder.at(run)
        self._run, self._lead, self._limit = folder.shared, lead_blocks, buffer_bytes
        self._sampler_names = sampler_names
        self._streams: dict[str, _Stream] = {}
        self._resident: OrderedDict[tuple[str, int], int] = OrderedDict()
        self._changed, self._opening = asyncio.Condition(), asyncio.Lock()
        self._gauges = Gauges("buffer", {"run": folder.name})
        count_traffic(folder, "buffer")
        self._pulls: set[asyncio.Task[None]] = set()
        self._fault: str | None = None

    async def _open(self, spec: StreamSpec, cursor: str) -> _Stream:
        """The stream of a specification, with a cursor at its first block if the reader has none yet. A restarted
        buffer knows no stream: the first fetch opens it again from what is stored."""
        name = spec.fingerprint
        async with self._opening:
            if name not in self._streams:
                self._streams[name] = await asyncio.to_thread(self._load, spec)
        if cursor not in self._streams[name].ledger.cursors:
            self._streams[name].ledger.open_cursor(cursor)
        if not self._pulls:
            self._pulls = {asyncio.create_task(self._pull_or_give_up(name)) for name in self._sampler_names}
        return self._streams[name]

    def _load(self, spec: StreamSpec) -> _Stream:
        """A new stream, with the blocks that an earlier session stored."""
        stream = _Stream(spec, Ledger(spec.num_blocks, self._lead))
        for index, rows in spill.blocks_on_disk(self._run, spec).items():
            stream.ledger.restore(index, rows)
        if stream.ledger.arrived:
            stream.shape, stream.restored = spill.read_shape(self._run, spec), stream.ledger.rows_accepted
        if not stream.ledger.complete:
            stream.error = self._fault
        elif not spill.has_end(self._run, spec):  # the session that drew the last block ended there
            spill.write_end(self._run, spec, self._describe(stream))
        return stream

    async def forget(self, spec: StreamSpec, index: int) -> None:
        """A reader found the block gone with the node that held it: the next one gets it from where it is stored."""
        if (stream := self._streams.get(spec.fingerprint)) is not None:
            stream.refs.pop(index, None)
            self._resident.pop((spec.fingerprint, index), None)

    async def close(self, spec: StreamSpec, cursor: str) -> None:
        """A reader is done."""
        if spec.fingerprint in self._streams:
            self._streams[spec.fingerprint].ledger.close_cursor(cursor)

    async def fetch(self, spec: StreamSpec, cursor: str, most: int, wait_s: float) -> Delivery:
        """Up to `most` blocks beyond the cursor; waits up to `wait_s` for the first. ValueError when the stream was
        given up."""
        stream = await self._open(spec, cursor)
        await self._notify()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(wait_s), self._changed:
                await self._changed.wait_for(lambda: self._ready(stream, cursor))
        if stream.error:
            raise ValueError(f"stream {spec.fingerprint} cannot be drawn: {stream.error}")
        taken = stream.ledger.take(cursor, most)
        blocks = [(index, await self._reference(stream, index)) for index in taken]
        self._evict()
        await self._notify()
        return Delivery(blocks, stream.shape, stream.ledger.finished(cursor))

    @staticmethod
    def _ready(stream: _Stream, cursor: str) -> bool:
        ledger = stream.ledger
        return bool(stream.error) or ledger.complete or ledger.cursors[cursor] < len(ledger.arrived)

    async def _reference(self, stream: _Stream, index: int) -> list[Any]:
        """[ref] of a block, from the object store or as it is stored; in a list, so that Ray hands on the ref."""
        name = stream.spec.fingerprint
        if index not in stream.refs:
            rows = await asyncio.to_thread(spill.read_block, self._run, stream.spec, index)
            self._keep(stream, index, ray.put(rows), rows.nbytes)
        self._resident.move_to_end((name, index))
        return stream.refs[index]

    def _keep(self, stream: _Stream, index: int, ref: Any, num_bytes: int) -> None:
        stream.refs[index] = [ref]
        self._resident[(stream.spec.fingerprint, index)] = num_bytes

    def _evict(self) -> None:
        """Let go of the references used longest ago until the rest fits; Ray frees a block when no reader holds it."""
        while sum(self._resident.values()) > self._limit and len(self._resident) > 1:
            (name, index), _ = self._resident.popitem(last=False)
            del self._streams[name].refs[index]

    async def _pull_or_give_up(self, sampler_name: str) -> None:
        """A fault in the buffer itself reaches the readers: they would wait for ever otherwise."""
        try:
            await self._pull(sampler_name)
        except Exception as error:
            self._give_up(f"the buffer failed: {error!r}")
            await self._notify()
            raise

    async def _pull(self, sampler_name: str) -> None:
        """Keep one sampler busy while any stream wants a block; ends when the sampler is gone for good."""
        sampler, alive = ray.get_actor(sampler_name), True
        while alive:
            async with self._changed:
                await self._changed.wait_for(lambda: any(self._wants(stream) for stream in self._streams.values()))
                stream = min(filter(self._wants, self._streams.values()), key=lambda s: len(s.ledger.arrived))
                index = stream.ledger.next_wanted()
            assert index is not None
            alive = await self._draw(sampler, stream, index)
            await self._notify()
        self._sampler_names.remove(sampler_name)
        if not self._sampler_names:
            self._give_up("all samplers died; see their logs in the Ray dashboard")

    @staticmethod
    def _wants(stream: _Stream) -> bool:
        return stream.error is None and stream.ledger.wants_block

    async def _draw(self, sampler: Any, stream: _Stream, index: int) -> bool:
        """Have a block drawn; False when the sampler will never answer again. A failed block is wanted again: a
        restarted or another sampler draws the very same rows."""
        try:
            ref, meta_ref = sampler.draw.remote(stream.spec, index)
            await self._accept(stream, index, ref, await meta_ref)
        except ActorUnavailableError:
            stream.ledger.give_back(index)
            await asyncio.sleep(RETRY_PAUSE_S)
        except RayActorError:
            stream.ledger.give_back(index)
            return False
        except RayTaskError as error:
            stream.ledger.give_back(index)
            stream.failures += 1
            if stream.failures >= MOST_FAILURES:
                stream.error = str(error.cause)
        return True

    async def _accept(self, stream: _Stream, index: int, ref: Any, meta: dict[str, Any]) -> None:
        stream.failures, stream.shape = 0, meta["shape"]
        stream.seconds += meta["seconds"]
        if stream.ledger.accept(index, meta["rows"]):
            self._keep(stream, index, ref, meta["rows"] * meta["shape"].width * 4)
            self._evict()
        if stream.ledger.complete:
            await asyncio.to_thread(spill.write_end, self._run, stream.spec, self._describe(stream))

    def _give_up(self, why: str) -> None:
        """Tell the readers of all streams that are not whole, and those that come later."""
        self._fault = why
        for stream in self._streams.values():
            if not stream.ledger.complete:
                stream.error = why

    async def _notify(self) -> None:
        async with self._changed:
            self._changed.notify_all()
        self._gauges.set({**self.counters(), **self._levels()})

    @staticmethod
    def _describe(stream: _Stream) -> dict[str, Any]:
        ledger = stream.ledger
        return {
            **asdict(stream.spec),
            "rows": ledger.rows_accepted,
            "blocks": len(ledger.arrived),
            "seconds": stream.seconds,
            "finished": time.time(),
        }

    def _levels(self) -> dict[str, float]:
        """How full and how busy it is now; see `gauges.FAMILIES`."""
        ledgers = [stream.ledger for stream in self._streams.values()]
        return {
            "segments_held": sum(ledger.rows_accepted for ledger in ledgers),
            "resident_bytes": sum(self._resident.values()),
            "lead_blocks": max((ledger.ahead for ledger in ledgers if ledger.cursors), default=0),
            "blocks_in_flight": sum(len(ledger.in_flight) for ledger in ledgers),
            "readers": sum(len(ledger.cursors) for ledger in ledgers),
            "samplers_alive": len(self._sampler_names),
            "drawing_s": sum(stream.seconds for stream in self._streams.values()),
        }

    def counters(self) -> dict[str, int]:
        """Rows in and out, over all streams."""
        ledgers = [stream.ledger for stream in self._streams.values()]
        return {
            "streams_drawn": sum(ledger.rows_generated > 0 for ledger in ledgers),
            "segments_sampled": sum(ledger.rows_generated for ledger in ledgers),
            "segments_dropped": sum(ledger.rows_dropped for ledger in ledgers),
            "segments_restored": sum(stream.restored for stream in self._streams.values()),
            "segments_consumed": sum(ledger.rows_consumed for ledger in ledgers),
        }

"""A learner's thread that fetches blocks of its stream into the rings on its device.

The learner never asks for a batch over the network: whole blocks arrive in the background, and batches are drawn from
the ring. Members of a population that keep other rows of the same stream have rings of their own, and every block is
fetched once for all of them.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Self

import numpy as np
import ray
from ray.exceptions import ObjectLostError, RayTaskError

from dwm_ray.blocks.journal import new_cursor
from dwm_ray.blocks.stream import StreamSpec
from dwm_ray.distributed.buffer.stream import Delivery
from dwm_ray.replay.ring import Ring
from dwm_ray.replay.sources import Intake
from dwm_ray.runs.background import in_background
from dwm_ray.types import SegmentShape

BLOCKS_A_FETCH = 8
FETCH_WAIT_S = 5.0


class BlockPrefetcher:
    """Opens a cursor, fills the rings of its intakes, closes the cursor; errors surface in `ready` and `check`."""

    def __init__(
        self, buffer: Any, spec: StreamSpec, intakes: Sequence[Intake], cursor: str, patience_s: float
    ) -> None:
        self._buffer, self._spec, self._patience_s = buffer, spec, patience_s
        self._cursor = new_cursor(cursor)
        self._intakes = tuple(intakes)
        self._error: Exception | None = None
        self._complete = False
        self._seen: set[int] = set()
        self._position = 0
        self._progress = threading.Condition()
        self._work = in_background("block-feed", self._run, 2 * FETCH_WAIT_S)
        self.rows_fetched = 0
        self.waited_s = 0.0

    def __enter__(self) -> Self:
        self._work.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._work.__exit__(kind, value, trace)

    def ready(self) -> list[Ring]:
        """The rings of the intakes, once each of them holds `replay.min_synthetic` rows, or all that the stream gives.
        RuntimeError when that takes longer than `patience_s` or the stream cannot be drawn; learning never starts on
        real data alone."""
        started = time.perf_counter()
        with self._progress:
            enough = self._progress.wait_for(self._enough, timeout=self._patience_s)
        self.waited_s = time.perf_counter() - started
        self.check()
        rings = [intake.ring for intake in self._intakes if intake.ring is not None]
        if not enough or len(rings) < len(self._intakes):
            raise RuntimeError(
                f"only {self.rows_fetched} imagined segments came within replay.patience_s = {self._patience_s:g} s, "
                "fewer than replay.min_synthetic"
            )
        return rings

    def check(self) -> None:
        """Raise what stopped the thread, if anything did."""
        if self._error is not None:
            raise RuntimeError(f"the stream of imagined segments broke: {self._error}") from self._error

    def gauges(self, intake: Intake) -> dict[str, float]:
        """Numbers for the rows of metrics of who learns from this intake's ring."""
        self.check()
        fetched, waited = self.rows_fetched, self.waited_s
        return {"synthetic_rows": intake.size, "rows_fetched": fetched, "waited_for_segments_s": waited}

    def _enough(self) -> bool:
        return self._error is not None or self._complete or all(intake.is_enough for intake in self._intakes)

    def _run(self, stop: threading.Event) -> None:
        try:
            while not (stop.is_set() or self._complete):
                limits = (BLOCKS_A_FETCH, FETCH_WAIT_S, self._position)
                self._take(ray.get(self._buffer.fetch.remote(self._spec, self._cursor, *limits)))
            self._buffer.close.remote(self._spec, self._cursor)
        except RayTaskError as error:  # what the buffer raised, without its traceback
            self._error = error.cause
        except Exception as error:  # whatever it is, the learner must hear of it
            self._error = error
        with self._progress:
            self._progress.notify_all()

    def _take(self, delivery: Delivery) -> None:
        """Copy new blocks into the rings. From a block on that was lost with its owner or its node, blocks are asked
        for again: the buffer reads them from disk, and those that are in the rings already are passed over."""
        new = [(index, ref) for index, [ref] in delivery.blocks if index not in self._seen]
        lost = [index for index, ref in new if not self._ingested(index, ref, delivery.shape)]
        if lost:
            ray.get([self._buffer.invalidate.remote(self._spec, index) for index in lost])
        order = [index for index, _ in delivery.blocks]
        self._position += min([order.index(index) for index in lost], default=len(order))
        self._complete = delivery.complete and not lost
        if self._complete and len(self._seen) < self._spec.num_blocks:  # a buffer that came back in another order
            self._position, self._complete = 0, False
        with self._progress:
            self._progress.notify_all()

    def _ingested(self, index: int, ref: Any, shape: SegmentShape | None) -> bool:
        """Is the block in the rings now? False where nobody holds it any more."""
        try:
            self._ingest(index, ray.get(ref), shape)
        except ObjectLostError:
            return False
        return True

    def _ingest(self, index: int, block: np.ndarray, shape: SegmentShape | None) -> None:
        assert shape is not None
        for intake in self._intakes:
            intake.take(index, block, shape)  # copies: no view pins the object store
        self._seen.add(index)
        self.rows_fetched += len(block)

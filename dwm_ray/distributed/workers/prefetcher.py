"""Background thread of a learner that fetches blocks of its stream into rings on the learner's device.

The learner never requests a batch over the network: whole blocks arrive in the background, and batches are sampled
from the rings. Every block is fetched once for all members of a population that learn from the stream.
"""

import threading
import time
from collections.abc import Sequence
from typing import Any, Self

import numpy as np
import ray
from ray.exceptions import ObjectLostError, RayTaskError

from dwm_ray.blocks.journal import new_cursor
from dwm_ray.blocks.stream import StreamSpec
from dwm_ray.data.segment_rows import SegmentShape
from dwm_ray.distributed.buffer.stream import Delivery
from dwm_ray.replay.sources import SelectedRing
from dwm_ray.runs.background import in_background

BLOCKS_PER_FETCH = 8
FETCH_WAIT_S = 5.0


class BlockPrefetcher:
    """Reader of one stream, which fills rings; `wait_until_ready` and `check` raise errors of its thread."""

    def __init__(
        self, buffer: Any, spec: StreamSpec, rings: Sequence[SelectedRing], cursor: str, patience_s: float
    ) -> None:
        self._buffer, self._spec, self._patience_s = buffer, spec, patience_s
        self._cursor = new_cursor(cursor)
        self._rings = tuple(rings)
        self._error: Exception | None = None
        self._complete = False
        self._seen: set[int] = set()
        self._position = 0
        self._progress = threading.Condition()
        self._thread = in_background("block-prefetcher", self._run, 2 * FETCH_WAIT_S)
        self.rows_fetched = 0
        self.waited_s = 0.0

    def __enter__(self) -> Self:
        self._thread.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._thread.__exit__(*error)

    def wait_until_ready(self) -> list[SelectedRing]:
        """Return the rings once each holds `replay.min_synthetic` rows, or all rows of the stream.

        Raises RuntimeError if that takes longer than `patience_s`, or if the stream cannot be generated: learning never
        starts on recorded data alone.
        """
        start = time.perf_counter()
        with self._progress:
            enough = self._progress.wait_for(self._is_ready, timeout=self._patience_s)
        self.waited_s = time.perf_counter() - start
        self.check()
        if not enough or not all(ring.size for ring in self._rings):
            raise RuntimeError(
                f"only {self.rows_fetched} imagined segments arrived within replay.patience_s = {self._patience_s:g} "
                "s, fewer than replay.min_synthetic"
            )
        return list(self._rings)

    def check(self) -> None:
        """Raise the error that stopped the thread, if there is one."""
        if self._error is not None:
            raise RuntimeError(f"the stream of imagined segments failed: {self._error}") from self._error

    def gauges(self, ring: SelectedRing) -> dict[str, float]:
        """Return numbers for the metrics of the members that learn from `ring`."""
        self.check()
        fetched, waited = self.rows_fetched, self.waited_s
        return {"synthetic_rows": ring.size, "rows_fetched": fetched, "waited_for_segments_s": waited}

    def _is_ready(self) -> bool:
        return self._error is not None or self._complete or all(ring.is_ready for ring in self._rings)

    def _run(self, stop: threading.Event) -> None:
        try:
            while not (stop.is_set() or self._complete):
                limits = (BLOCKS_PER_FETCH, FETCH_WAIT_S, self._position)
                self._receive(ray.get(self._buffer.fetch.remote(self._spec, self._cursor, *limits)))
            self._buffer.close.remote(self._spec, self._cursor)
        except RayTaskError as error:  # the buffer's own error, without its traceback
            self._error = error.cause
        except Exception as error:  # the learner reports every error
            self._error = error
        with self._progress:
            self._progress.notify_all()

    def _receive(self, delivery: Delivery) -> None:
        """Copy new blocks into the rings.

        From the first block on that was lost with its owner or node, blocks are requested again: the buffer reads them
        from disk. Blocks that are in the rings already are skipped.
        """
        new = [(index, ref) for index, [ref] in delivery.blocks if index not in self._seen]
        lost = [index for index, ref in new if not self._add(index, ref, delivery.shape)]
        if lost:
            ray.get([self._buffer.invalidate.remote(self._spec, index) for index in lost])
        order = [index for index, _ in delivery.blocks]
        self._position += min([order.index(index) for index in lost], default=len(order))
        self._complete = delivery.complete and not lost
        if self._complete and len(self._seen) < self._spec.num_blocks:  # a restarted buffer has another order
            self._position, self._complete = 0, False
        with self._progress:
            self._progress.notify_all()

    def _add(self, index: int, ref: Any, shape: SegmentShape | None) -> bool:
        """Add a block to the rings; return False if no node holds it any more."""
        assert shape is not None
        try:
            block: np.ndarray = ray.get(ref)
        except ObjectLostError:
            return False
        for ring in self._rings:
            ring.add(index, block, shape)  # copies: no view pins the object store
        self._seen.add(index)
        self.rows_fetched += len(block)
        return True

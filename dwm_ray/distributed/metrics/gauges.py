"""Numbers for the Ray dashboard and Prometheus, by `ray.util.metrics`.

Ray exports a gauge NAME of family FAMILY as `ray_dwm_FAMILY_NAME`, with the labels given here and its own (node,
worker, session). `FAMILIES` says what there is beside what an agent or a world model measures of itself (losses, ...);
`ops/grafana/dwm_ray.json` is a board of these. Totals only grow while their process lives: ask for their `rate`.
"""

from __future__ import annotations

import time
from collections.abc import Mapping

import torch
from ray.util.metrics import Gauge

FAMILIES: dict[str, dict[str, str]] = {
    "buffer": {
        "streams_generated": "Streams of which rows were drawn, over all sessions of the run",
        "segments_sampled": "Segments that samplers have drawn, over all sessions",
        "segments_dropped": "Segments that came twice and were dropped, over all sessions",
        "segments_restored": "Segments found on disk and not drawn again, over all sessions and restarts",
        "segments_consumed": "Segments handed to learners, over all sessions; one that two learners read counts twice",
        "oom_splits": "Times that a sampler ran out of memory and went on with half as many rows at once",
        "segments_held": "Segments of all streams that can be read now, in memory or from disk",
        "resident_bytes": "Bytes of blocks that the buffer keeps in the object store; bound: cluster.buffer_bytes",
        "prefetch_blocks": "Blocks generated or in flight beyond the foremost reader, of the stream furthest ahead; "
        "bound: cluster.prefetch_blocks",
        "blocks_in_flight": "Blocks being drawn now",
        "readers": "Open cursors: learners that read a stream",
        "samplers_alive": "Samplers that the buffer can ask",
        "generating_s": "Seconds that samplers have spent on blocks, in total",
    },
    "sampler": {
        "segments": "Segments drawn, in total",
        "segments_per_s": "Segments per second of the last block or part of a round",
        "busy_fraction": "Fraction of the time since its first block or part that it was drawing",
        "oom_splits": "Times that memory was too small and it went on with half as many rows at once",
        "gpu_bytes": "GPU memory that torch holds in this process",
    },
    "learner": {
        "update": "Gradient steps made",
        "updates_per_s": "Gradient steps per second since the last row of metrics",
        "score_mean": "Score of the latest evaluation",
        "q_mean": "Mean Q value of a batch",
        "critic_loss": "Loss of the critic",
        "actor_loss": "Loss of the actor",
        "synthetic_rows": "Imagined rows in the learner's ring; bound: replay.capacity",
        "rows_fetched": "Imagined rows fetched from the stream, in total",
        "consumed_fraction": "Fraction of the imagined rows that were drawn at least once",
        "waited_for_segments_s": "Seconds that the learner waited for imagined rows, in total",
        "policy_version": "Version of the policy that was handed out last (rounds)",
        "staleness": "Age of the newest imagined rows, in versions of the policy (rounds); bound: "
        "synthesis.max_staleness",
        "staleness_mean": "Mean age of the rows in the ring, in versions of the policy (rounds)",
        "segments_imagined": "Segments imagined for this learner, in total (rounds)",
        "learner_busy_fraction": "Fraction of the time that the learner did not wait for imagined rows (rounds)",
        "sampler_busy_fraction": "Fraction of the time that samplers drew for this learner (rounds)",
        "max_rss_bytes": "Most memory that the learner's process has held",
        "cpu_s": "CPU seconds that the learner has spent since it last started",
        "gpu_bytes": "GPU memory that torch holds in this process",
        "seconds": "Seconds of work, those before a restart included",
    },
    "world_model": {
        "update": "Gradient steps made",
        "loss": "Training loss, mean since the last row",
        "holdout_loss": "Loss of the averaged weights on held-out windows",
        "max_rss_bytes": "Most memory that the process has held",
        "cpu_s": "CPU seconds that the training has spent since it last started",
        "seconds": "Seconds of work, those before a restart included",
        "gpu_bytes": "GPU memory that torch holds in this process",
    },
    "storage": {
        "written_bytes": "Bytes written to the run's storage by this process, in total",
        "read_bytes": "Bytes read from the run's storage by this process, in total",
        "seconds": "Seconds that this process spent in requests to the storage that succeeded, in total",
        "retries": "Requests to the storage that failed and were tried again, in total",
        "failures": "Requests to the storage that were given up, in total",
    },
}
"""Family -> name -> what it says; the text goes to Prometheus as help."""
LABELS = {
    "buffer": ("run", "shard"),
    "sampler": ("run", "sampler"),
    "learner": ("run", "trial"),
    "world_model": ("run", "model"),
    "storage": ("run", "process"),
}
"""What tells the processes of a family apart; a run is named by its folder."""


def exported_name(family: str, name: str) -> str:
    """A gauge's name in Prometheus."""
    return f"ray_dwm_{family}_{name}"


class Gauges:
    """The gauges of one family in one process, made as names appear."""

    def __init__(self, family: str, labels: dict[str, str] | None = None) -> None:
        self._family, self._labels = family, labels or {}
        assert set(self._labels) <= set(LABELS[family]), "the board knows no other labels"
        self._gauges: dict[str, Gauge] = {}

    def set(self, values: Mapping[str, object]) -> None:
        """Set the numbers among `values`; what is none (the returns of an evaluation) has no gauge."""
        for name, value in values.items():
            if isinstance(value, int | float) and not isinstance(value, bool):
                self._gauge(name).set(float(value))

    def tell(self, row: Mapping[str, object]) -> None:
        """Set the numbers of a row, and the GPU memory that torch holds in this process (0 without a GPU)."""
        self.set({**row, "gpu_bytes": torch.cuda.memory_reserved()})

    def _gauge(self, name: str) -> Gauge:
        if name not in self._gauges:
            about = FAMILIES[self._family].get(name, "")
            gauge = Gauge(f"dwm_{self._family}_{name}", description=about, tag_keys=tuple(self._labels))
            self._gauges[name] = gauge.set_default_tags(self._labels)
        return self._gauges[name]


class SamplerGauges:
    """What one sampler has drawn, and how much of its time that took."""

    def __init__(self, run: str, sampler: str) -> None:
        self._gauges = Gauges("sampler", {"run": run, "sampler": sampler})
        self._segments, self._generating_s, self._halvings = 0, 0.0, 0
        self._started: float | None = None

    def drew(self, segments: int, seconds: float) -> None:
        """A block, or a part of a round, came out just now."""
        now = time.perf_counter()
        self._started = now - seconds if self._started is None else self._started
        self._segments, self._generating_s = self._segments + segments, self._generating_s + seconds
        share = self._generating_s / max(now - self._started, 1e-9)
        row = {"segments": self._segments, "segments_per_s": segments / max(seconds, 1e-9), "busy_fraction": share}
        self._gauges.tell({**row, "oom_splits": self._halvings})

    def halved(self) -> None:
        """Memory was too small just now."""
        self._halvings += 1
        self._gauges.set({"oom_splits": self._halvings})

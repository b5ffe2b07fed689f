"""A stream belongs to one actor in every process and session; the actors' counters are summed."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from dwm_ray.blocks.stream import StreamSpec
from dwm_ray.distributed.buffer import shards as module
from dwm_ray.distributed.buffer.shards import Shards

SPECS = [StreamSpec("model", {}, 0.5, 0.9, 12, 4, seed) for seed in range(60)]


def test_streams_are_divided_in_a_reproducible_way() -> None:
    owners = [Shards(("a", "b", "c")).of(spec) for spec in SPECS]
    assert owners == [Shards(("a", "b", "c")).of(spec) for spec in SPECS]
    assert all(owners.count(name) >= 8 for name in "abc")


def test_counters_are_summed(monkeypatch: pytest.MonkeyPatch) -> None:
    def actor(**counters: int) -> Any:
        return SimpleNamespace(counters=SimpleNamespace(remote=lambda: counters))

    monkeypatch.setattr(module, "ray", SimpleNamespace(get=lambda refs: refs))
    both = Shards((actor(segments_sampled=3, streams_generated=1), actor(segments_sampled=4, streams_generated=0)))
    assert both.counters() == {"segments_sampled": 7, "streams_generated": 1}

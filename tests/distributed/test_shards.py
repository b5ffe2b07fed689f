"""A stream has one actor, whoever asks and in whichever session; the actors' counters are added up."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from dwm_ray.blocks.stream import StreamSpec
from dwm_ray.distributed.buffer import shards as module
from dwm_ray.distributed.buffer.shards import Shards


def spec(seed: int) -> StreamSpec:
    return StreamSpec("model", {}, 0.5, 0.9, 12, 4, seed)


def test_streams_are_shared_out_and_stay_where_they_are() -> None:
    owners = [Shards(("a", "b", "c")).of(spec(seed)) for seed in range(60)]
    assert owners == [Shards(("a", "b", "c")).of(spec(seed)) for seed in range(60)]
    assert all(owners.count(name) >= 8 for name in "abc")
    assert {Shards(("a",)).of(spec(seed)) for seed in range(9)} == {"a"}


def test_counters_are_added_up(monkeypatch: pytest.MonkeyPatch) -> None:
    def actor(**counters: int) -> Any:
        return SimpleNamespace(counters=SimpleNamespace(remote=lambda: counters))

    monkeypatch.setattr(module, "ray", SimpleNamespace(get=lambda refs: refs))
    both = Shards((actor(segments_sampled=3, streams_generated=1), actor(segments_sampled=4, streams_generated=0)))
    assert both.counters() == {"segments_sampled": 7, "streams_generated": 1}

"""The load on the buffer, a small one: what it counts adds up, and every delay is seen."""

from __future__ import annotations

import pytest

from dwm_ray.benchmarks.cluster.load import measure, measure_bare
from dwm_ray.benchmarks.cluster.load_generator import Crowd

pytestmark = pytest.mark.cluster


@pytest.mark.parametrize("shards", [1, 2])
def test_a_small_crowd_moves_blocks(cluster: str, shards: int) -> None:
    seen = measure(Crowd(8, 4, 2, 1, 16, shards), 0.05, 3.0, 5.0)
    assert seen.accepted > 0
    assert seen.delivered >= seen.accepted
    assert {name for name, values in seen.delays.items() if values} == {"fetch", "delivery", "turnaround"}
    assert all(value >= 0 for values in seen.delays.values() for value in values)
    assert len(seen.cpu_s) == len(seen.rss_bytes) == shards


def test_the_floor_has_no_readers(cluster: str) -> None:
    seen = measure_bare(Crowd(8, 1, 1, 1, 16), 0.05, 1.0, 2.0)
    assert seen.accepted > 0
    assert seen.delivered == 0

"""Segments through the real buffer with one sampler and with two."""

from __future__ import annotations

from pathlib import Path

import pytest
from tiny_task import BLOCK_ROWS, NUM_SEGMENTS, tiny_config

from dwm_ray.benchmarks.cluster.throughput import rate, site


def test_the_clock_starts_when_every_sampler_has_drawn_once() -> None:
    blocks = [{"block": n, "rows": 10, "time": 100.0 + n, "cpu_s": 0.5} for n in range(5)]
    drawn = rate([*blocks[:2], {"cursor": 1, "rows": 20}, *blocks[2:]], 2)
    assert (drawn.segments, drawn.seconds, drawn.cpu_s) == (30, 3.0, 1.5)
    assert (drawn.per_s, drawn.per_cpu_s) == (10.0, 20.0)


@pytest.mark.cluster
def test_streams_are_drawn_by_so_many_samplers(cluster: str, file: Path, tmp_path: Path) -> None:
    told: list[str] = []
    with site(tiny_config(file), tmp_path, (1, 2)) as built:
        seen = built.in_turns(2, told.append)
    assert told == ["repeat 1 of 2", "repeat 2 of 2"]
    assert {count: [one.segments for one in of] for count, of in seen.items()} == {
        1: [NUM_SEGMENTS - BLOCK_ROWS] * 2,
        2: [NUM_SEGMENTS - 2 * BLOCK_ROWS] * 2,
    }
    assert all(one.cpu_s > 0 for of in seen.values() for one in of)
    assert {path.name for path in tmp_path.glob("streams/*")} != set()

"""Benchmarks on a cluster, at a small size: load on the buffer, and segments with one sampler and with two."""

from pathlib import Path

import pytest
from tiny_task import BLOCK_ROWS, NUM_SEGMENTS, tiny_config

from dwm_ray.benchmarks.cluster.load import measure
from dwm_ray.benchmarks.cluster.throughput import sampler_counts, stream_rate
from dwm_ray.benchmarks.measure import alternating


def test_a_rate_starts_when_every_sampler_has_generated_a_block() -> None:
    blocks = [{"block": n, "rows": 10, "time": 100.0 + n, "cpu_s": 0.5} for n in range(5)]
    rate = stream_rate([*blocks[:2], {"cursor": 1, "rows": 20}, *blocks[2:]], 2)
    assert rate == {"segments": 30, "seconds": 3.0, "cpu_s": 1.5}


@pytest.mark.cluster
def test_streams_are_generated_by_each_number_of_samplers(cluster: str, file: Path, tmp_path: Path) -> None:
    reports: list[str] = []
    with sampler_counts(tiny_config(file), tmp_path, (1, 2)) as counts:
        rates = alternating(counts, 2, reports.append)
    assert reports == ["repeat 1 of 2", "repeat 2 of 2"]
    assert {count: [one["segments"] for one in of] for count, of in rates.items()} == {
        "1": [NUM_SEGMENTS - BLOCK_ROWS] * 2,
        "2": [NUM_SEGMENTS - 2 * BLOCK_ROWS] * 2,
    }
    assert all(one["cpu_s"] > 0 for of in rates.values() for one in of)


@pytest.mark.cluster
@pytest.mark.parametrize("shards", [1, 2])
def test_a_small_load_moves_blocks(cluster: str, shards: int) -> None:
    window = measure(8, 4, 2, shards, 0.05, 3.0, 5.0)
    assert window["accepted"] > 0
    assert window["delivered"] >= window["accepted"]
    assert window["delays"]
    assert min(window["delays"]) >= 0
    assert len(window["cpu_s"]) == len(window["rss_bytes"]) == shards

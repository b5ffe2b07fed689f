"""A sampler that dies in the middle of a stream."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest
import ray
from stream_site import make_site, stop
from tiny_task import BLOCK_ROWS, NUM_BLOCKS, NUM_SEGMENTS

pytestmark = pytest.mark.cluster


def test_a_sampler_killed_in_the_middle_loses_and_repeats_nothing(cluster: str, file: Path, tmp_path: Path) -> None:
    site = make_site(tmp_path, file)
    services = site.services(prefetch_blocks=1)
    [sampler] = services.samplers
    victim = ray.get(sampler.__ray_call__.remote(lambda self: os.getpid()))
    blocks: dict[int, np.ndarray] = {}
    killed = False
    deadline = time.monotonic() + 100
    while len(blocks) < NUM_BLOCKS:
        assert time.monotonic() < deadline, "the stream does not go on"
        delivery = ray.get(services.buffer.of(site.spec).fetch.remote(site.spec, "reader", 1, 5.0))
        for index, [ref] in delivery.blocks:
            assert index not in blocks
            blocks[index] = np.array(ray.get(ref))
        if len(blocks) == 2 and not killed:
            os.kill(victim, signal.SIGKILL)
            killed = True
    assert [len(blocks[index]) for index in range(NUM_BLOCKS)] == [BLOCK_ROWS] * 4 + [NUM_SEGMENTS - 4 * BLOCK_ROWS]
    assert ray.get(sampler.__ray_call__.remote(lambda self: os.getpid())) != victim
    assert delivery.complete
    later = site.all_rows(services, "later")
    stop(services)
    np.testing.assert_allclose(later, site.expected, rtol=1e-6, atol=1e-6)

"""Real samplers, buffer and object store: every reader gets the rows that one process would generate."""

import os
import shutil
import signal
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import cast

import numpy as np
import pytest
import ray
from stream_site import CPU, Site, make_site, ordered, stop
from tiny_task import BLOCK_ROWS, NUM_BLOCKS, NUM_SEGMENTS

from dwm_ray.distributed.services import ClusterServices
from dwm_ray.local.streams import read_stream
from dwm_ray.runs.folder import RunFolder
from dwm_ray.world_models.base import WorldModel

pytestmark = pytest.mark.cluster


@pytest.fixture(scope="module")
def site(cluster: str, file: Path, tmp_path_factory: pytest.TempPathFactory) -> Site:
    return make_site(tmp_path_factory.mktemp("run"), file)


@pytest.fixture(scope="module")
def services(site: Site) -> Iterator[ClusterServices]:
    built = site.services()
    yield built
    stop(built)


def test_every_reader_gets_the_rows_that_one_process_generates(site: Site, services: ClusterServices) -> None:
    for cursor in ("first", "second"):
        np.testing.assert_allclose(site.all_rows(services, cursor), site.expected(), rtol=1e-6, atol=1e-6)
    assert services.buffer.counters() == {
        "streams_generated": 1,
        "segments_sampled": NUM_SEGMENTS,
        "segments_dropped": 0,
        "segments_restored": 0,
        "segments_consumed": 2 * NUM_SEGMENTS,
        "oom_splits": 0,
    }


def test_a_run_without_ray_reads_the_samplers_blocks(site: Site, services: ClusterServices, tmp_path: Path) -> None:
    rows = site.all_rows(services, "third")
    later = RunFolder(shutil.copytree(site.run.root, tmp_path / "run"))  # a journal has one writer at a time
    no_model = cast(WorldModel, None)
    [ring] = read_stream([site.config], site.task_data, no_model, later, CPU).values()
    np.testing.assert_array_equal(ordered(ring), rows)


def test_a_restarted_learner_gets_every_row(site: Site, services: ClusterServices) -> None:
    """Its worker was killed in the middle and did not close its cursor."""
    other = replace(site.spec, seed=1)
    gone = site.prefetcher(services, "trial", other)
    ray.get(services.buffer.of(other).fetch.remote(other, gone._cursor, 2, 10.0))
    with site.prefetcher(services, "trial", other) as prefetcher:
        [own] = prefetcher.wait_until_ready()
        while not prefetcher._complete:
            prefetcher.check()
            time.sleep(0.01)
    assert own.ring.num_added == NUM_SEGMENTS


def test_a_failing_stream_ends_the_learner_with_the_reason(site: Site, services: ClusterServices) -> None:
    broken = replace(site.spec, world_model="absent")
    with (
        site.prefetcher(services, "broken", broken) as prefetcher,
        pytest.raises(RuntimeError, match=r"the stream of imagined segments failed: .*absent: no readable checkpoint"),
    ):
        prefetcher.wait_until_ready()
    with pytest.raises(RuntimeError, match="no readable checkpoint"):
        prefetcher.check()


@pytest.fixture(scope="module")
def later(site: Site, services: ClusterServices) -> Iterator[tuple[dict[str, int], ClusterServices]]:
    """Counters of the session before, and services with a tiny cache and prefetch limit."""
    site.all_rows(services, "before")  # the stream is complete on disk, whichever tests ran
    before = services.buffer.counters()
    stop(services)
    built = site.services(buffer_bytes=1, prefetch_blocks=1)
    yield before, built
    stop(built)


def test_a_later_session_generates_nothing_again(site: Site, later: tuple[dict[str, int], ClusterServices]) -> None:
    before, services = later
    for cursor in ("third", "fourth"):
        np.testing.assert_allclose(site.all_rows(services, cursor), site.expected(), rtol=1e-6, atol=1e-6)
    counters = services.buffer.counters()
    assert counters["segments_sampled"] == before["segments_sampled"]
    assert counters["segments_restored"] == before["segments_restored"] + NUM_SEGMENTS
    assert counters["segments_consumed"] == before["segments_consumed"] + 2 * NUM_SEGMENTS


def test_a_killed_sampler_loses_and_repeats_nothing(site: Site, later: tuple[dict[str, int], ClusterServices]) -> None:
    _, services = later
    [sampler] = services.samplers
    victim, other = ray.get(sampler.pid.remote()), replace(site.spec, seed=2)
    sizes: dict[int, int] = {}
    deadline = time.monotonic() + 100
    while len(sizes) < NUM_BLOCKS:
        assert time.monotonic() < deadline, "the stream does not continue"
        delivery = ray.get(services.buffer.of(other).fetch.remote(other, "reader", 1, 5.0, len(sizes)))
        for index, [ref] in delivery.blocks:
            assert index not in sizes
            sizes[index] = len(ray.get(ref))
            if len(sizes) == 2:
                os.kill(victim, signal.SIGKILL)
    assert [sizes[index] for index in range(NUM_BLOCKS)] == [BLOCK_ROWS] * 4 + [NUM_SEGMENTS - 4 * BLOCK_ROWS]
    assert delivery.complete
    assert ray.get(sampler.pid.remote()) != victim
    np.testing.assert_allclose(site.all_rows(services, "fifth", other), site.expected(seed=2), rtol=1e-6, atol=1e-6)

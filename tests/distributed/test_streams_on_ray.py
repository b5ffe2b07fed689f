"""Real samplers, a real buffer and the object store: every reader gets the rows that one process would draw."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import cast

import numpy as np
import pytest
import ray
from stream_site import CPU, Site, make_site, ordered, stop
from tiny_task import NUM_SEGMENTS

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


def test_every_reader_gets_the_rows_that_one_process_draws(site: Site, services: ClusterServices) -> None:
    for cursor in ("first", "second"):
        np.testing.assert_allclose(site.all_rows(services, cursor), site.expected, rtol=1e-6, atol=1e-6)
    assert services.buffer.counters() == {
        "streams_generated": 1,
        "segments_sampled": NUM_SEGMENTS,
        "segments_dropped": 0,
        "segments_restored": 0,
        "segments_consumed": 2 * NUM_SEGMENTS,
        "oom_splits": 0,
    }


def test_a_run_without_ray_finds_what_samplers_have_drawn(
    site: Site, services: ClusterServices, tmp_path: Path
) -> None:
    rows = site.all_rows(services, "third")
    later = RunFolder(shutil.copytree(site.run.root, tmp_path / "run"))  # an account has one writer at a time
    nothing_to_draw_with = cast(WorldModel, None)
    [ring] = read_stream([site.config], site.task_data, nothing_to_draw_with, later, CPU).values()
    np.testing.assert_array_equal(ordered(ring), rows)


def test_a_learner_that_starts_again_gets_every_row(site: Site, services: ClusterServices) -> None:
    """Its worker was killed in the middle: nobody closed its cursor."""
    other = replace(site.spec, seed=1)
    gone = site.prefetcher(services, "trial", other)
    ray.get(services.buffer.of(other).fetch.remote(other, gone._cursor, 2, 10.0))
    with site.prefetcher(services, "trial", other) as prefetcher:
        [own] = prefetcher.wait_until_ready()
        while not prefetcher._complete:
            prefetcher.check()
            time.sleep(0.01)
    assert own.ring.num_added == NUM_SEGMENTS


def test_a_stream_that_cannot_be_drawn_ends_the_learner_with_the_reason(site: Site, services: ClusterServices) -> None:
    broken = replace(site.spec, world_model="absent")
    with (
        site.prefetcher(services, "broken", broken) as prefetcher,
        pytest.raises(RuntimeError, match=r"the stream of imagined segments failed: .*absent: no readable checkpoint"),
    ):
        prefetcher.wait_until_ready()
    with pytest.raises(RuntimeError, match="no readable checkpoint"):
        prefetcher.check()


def test_a_later_session_with_a_tiny_buffer_draws_nothing_again(site: Site, services: ClusterServices) -> None:
    site.all_rows(services, "before")  # whole on disk, whichever tests ran
    before = services.buffer.counters()
    stop(services)
    again = site.services(buffer_bytes=1)
    for cursor in ("third", "fourth"):
        np.testing.assert_allclose(site.all_rows(again, cursor), site.expected, rtol=1e-6, atol=1e-6)
    counters = again.buffer.counters()
    stop(again)
    assert counters["segments_sampled"] == before["segments_sampled"]
    assert counters["segments_restored"] == before["segments_restored"] + NUM_SEGMENTS
    assert counters["segments_consumed"] == before["segments_consumed"] + 2 * NUM_SEGMENTS

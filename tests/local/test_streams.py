"""A run's stream in one process: generated once, for all readers and across restarts; every row is accounted for."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from local_runs import CPU, generated_ring, world_model
from tiny_task import BLOCK_ROWS, NUM_BLOCKS, NUM_SEGMENTS, recording, tiny_config

from dwm_ray.blocks import block_files, block_generator
from dwm_ray.blocks.counters import Counters
from dwm_ray.blocks.journal import Journal, load_journals, total_counters
from dwm_ray.blocks.stream import StreamSpec, generate_block
from dwm_ray.config import RunConfig
from dwm_ray.data.task_data import TaskData, load_task_data
from dwm_ray.local.streams import read_stream
from dwm_ray.replay.ring import Ring
from dwm_ray.replay.sources import ring_key, stream_of
from dwm_ray.runs.folder import RunFolder, read_json
from dwm_ray.runs.storage import Storage
from dwm_ray.types import Segments
from dwm_ray.world_models.base import WorldModel


class Killed(BaseException):
    """The process ends."""


class Site:
    """A run with a trained world model; generated and read blocks are recorded, and the process may end in between."""

    def __init__(self, file: Path, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.config = tiny_config(file)
        self.task_data: TaskData = load_task_data(self.config)
        self.run = RunFolder(root / "run")
        self.model: WorldModel = world_model(self.config, self.task_data, self.run)
        self.generated: list[int] = []
        self.read: list[int] = []
        self.dies_at: int | None = None
        monkeypatch.setattr(block_generator, "generate_block", self._draw)
        self._really = block_files.read_block
        monkeypatch.setattr(block_files, "read_block", self._read)

    def _read(self, run: block_files.Run, spec: StreamSpec, index: int) -> np.ndarray:
        self.read.append(index)
        return self._really(run, spec, index)

    def _draw(self, spec: StreamSpec, index: int, *ground: Any) -> Segments:
        if index == self.dies_at:
            raise Killed
        self.generated.append(index)
        return generate_block(spec, index, *ground)

    def rings(self, *configs: RunConfig) -> dict[str, Ring]:
        return read_stream(configs or [self.config], self.task_data, self.model, self.run, CPU)

    def journal(self) -> Journal:
        return Journal(block_files.stream_folder(self.run.root, stream_of(self.config, self.task_data)))

    def assert_same(self, ring: Ring, config: RunConfig) -> None:
        """Bit for bit what is generated in one go and stored nowhere."""
        expected = generated_ring(config, self.task_data, self.model)
        assert ring.num_added == expected.num_added
        assert torch.equal(ring._rows[: ring.size], expected._rows[: expected.size])


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    return Site(recording(tmp_path / "pendulum.hdf5"), tmp_path, monkeypatch)


def test_a_stream_is_drawn_once_and_found_again(site: Site) -> None:
    for _ in range(2):
        [ring] = site.rings().values()
        site.assert_same(ring, site.config)
    assert site.generated == site.read == list(range(NUM_BLOCKS))
    journal = site.journal()
    assert (journal.generated, journal.dropped, journal.restored) == (NUM_SEGMENTS, 0, NUM_SEGMENTS)
    assert list(journal.consumed.values()) == [NUM_SEGMENTS] * 2
    assert journal.positions == {}
    assert journal.seconds > 0
    end = read_json(block_files.stream_folder(site.run.root, stream_of(site.config, site.task_data)) / "stream.json")
    assert (end["rows"], end["blocks"]) == (NUM_SEGMENTS, NUM_BLOCKS)
    assert end["seconds"] == pytest.approx(journal.seconds)


def test_members_share_a_pass_and_what_they_keep_alike(site: Site) -> None:
    others = ({"seed": 1}, {"replay.real_ratio": 0.5}, {"synthesis.horizon": 3}, {"filter": "hardmax"})
    configs = [site.config, *(site.config.with_values(values) for values in others)]
    rings = site.rings(*configs)
    assert site.generated == list(range(NUM_BLOCKS))
    assert site.read == []
    assert len(rings) == 3
    for config in configs:
        site.assert_same(rings[ring_key(config, site.task_data)], config)
    assert list(site.journal().consumed.values()) == [NUM_SEGMENTS] * len(configs), "a cursor for every trial"


def test_a_process_that_ended_in_the_middle_goes_on_with_the_blocks_that_are_there(site: Site) -> None:
    site.dies_at = 3
    with pytest.raises(Killed):
        site.rings()
    path = block_files.stream_folder(site.run.root, stream_of(site.config, site.task_data)) / "journal.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(line for line in lines if '"block": 2' not in line) + '{"block": 2, "ro')
    site.dies_at = None
    [ring] = site.rings().values()
    site.assert_same(ring, site.config)
    assert site.generated == list(range(NUM_BLOCKS)), "no block was generated twice"
    assert site.read == [0, 1, 2]
    journal = site.journal()
    assert journal.accepted == dict.fromkeys(range(4), BLOCK_ROWS) | {4: NUM_SEGMENTS - 4 * BLOCK_ROWS}
    assert journal.restored == 3 * BLOCK_ROWS
    assert sorted(journal.consumed.values()) == [3 * BLOCK_ROWS, NUM_SEGMENTS]


def test_rows_do_not_depend_on_which_blocks_were_there(site: Site) -> None:
    site.rings()
    spec = stream_of(site.config, site.task_data)
    (block_files.stream_folder(site.run.root, spec) / "block-000001.parquet").unlink()
    [ring] = site.rings().values()
    site.assert_same(ring, site.config)
    assert site.generated == [*range(NUM_BLOCKS), 1]


def test_a_run_with_a_storage_keeps_blocks_there_alone(site: Site, tmp_path: Path) -> None:
    kept = Storage.folder(tmp_path / "kept")
    (tmp_path / "mirrors").mkdir()
    for number in range(2):
        site.run = RunFolder(tmp_path / "mirrors" / str(number), kept)
        [ring] = site.rings().values()
        site.assert_same(ring, site.config)
        assert not list(site.run.root.rglob("*.parquet"))
        assert len(list((tmp_path / "kept").rglob("*.parquet"))) == NUM_BLOCKS
        assert len(list(site.run.root.glob("streams/*/stream.json"))) == 1
    assert site.generated == list(range(NUM_BLOCKS))
    journals = load_journals(tmp_path / "kept")
    assert journals.keys() == load_journals(site.run.root).keys()
    assert total_counters(journals.values())["segments_consumed"] == 2 * NUM_SEGMENTS


def test_counters_are_what_the_accounts_come_to(site: Site) -> None:
    site.rings()
    site.rings(site.config, site.config.with_values({"seed": 1}))
    Counters.local(site.run).write()
    assert read_json(site.run.counters) == {
        "world_models_trained": 1,
        "streams_generated": 1,
        "segments_sampled": NUM_SEGMENTS,
        "segments_dropped": 0,
        "segments_restored": NUM_SEGMENTS,
        "segments_consumed": 3 * NUM_SEGMENTS,
        "oom_splits": 0,
    }


def test_stored_rows_are_exact(site: Site) -> None:
    site.rings()
    spec = stream_of(site.config, site.task_data)
    stored = np.concatenate([block_files.read_block(site.run.root, spec, index) for index in range(NUM_BLOCKS)])
    shape = block_files.read_shape(site.run.root, spec)
    longest = site.config.with_values({"synthesis.horizon": shape.horizon})
    np.testing.assert_array_equal(stored, generated_ring(longest, site.task_data, site.model)._rows.numpy())

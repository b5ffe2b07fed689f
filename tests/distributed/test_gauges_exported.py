"""Every gauge of the catalogue is set by the loop that it belongs to; no cluster is needed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import pytest
from local_runs import CPU, generated_ring
from tiny_task import DWM, ONE_STEP, recording, tiny_config

from dwm_ray.blocks.stream import StreamSpec
from dwm_ray.config import RunConfig
from dwm_ray.data.task_data import load_task_data
from dwm_ray.distributed.metrics import gauges as module
from dwm_ray.distributed.metrics.gauges import FAMILIES, Gauges, SamplerGauges
from dwm_ray.distributed.workers.prefetcher import BlockPrefetcher
from dwm_ray.local.services import LocalServices
from dwm_ray.replay.sources import StreamRing, ring_key, selection
from dwm_ray.runs.folder import RunFolder
from dwm_ray.training.fit import train_world_model
from dwm_ray.training.services import StreamRows
from dwm_ray.training.trials import train_trials
from dwm_ray.world_models.base import model_options

DYDIFF = {
    **{"name": "dydiff", "sequence_length": 8, "dim": 8, "multipliers": [1, 2], "solver_steps": 2},
    **{"num_updates": 20, "batch_size": 32, "ensemble_width": 16},
}


class Seen:
    """Stands for Ray's gauge; keeps every gauge's last value."""

    values: ClassVar[dict[str, float]] = {}

    def __init__(self, name: str, description: str, tag_keys: tuple[str, ...]) -> None:
        self.name = name

    def set_default_tags(self, labels: dict[str, str]) -> Seen:
        return self

    def set(self, value: float) -> None:
        Seen.values[self.name] = value


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> dict[str, float]:
    monkeypatch.setattr(module, "Gauge", Seen)
    monkeypatch.setattr(Seen, "values", {})
    return Seen.values


def names(family: str) -> set[str]:
    return {f"dwm_{family}_{name}" for name in FAMILIES[family]}


class ExportingServices(LocalServices):
    """Services in this process that export gauges as those of a worker do."""

    @contextmanager
    def streams(self, configs: Sequence[RunConfig]) -> Iterator[dict[str, StreamRows]]:
        [config] = configs
        spec = StreamSpec.of(config, "model")
        own = StreamRing(spec, selection(config), config.replay, CPU)
        own._ring = generated_ring(config, self._task_data, self.world_model(config))
        prefetcher = BlockPrefetcher(None, spec, [own], "trial", 1.0)
        yield {ring_key(config, self._task_data): StreamRows(own.ring, partial(prefetcher.gauges, own))}

    def on_row(self, trial_id: str, row: dict[str, Any]) -> None:
        Gauges("learner").set_row(row)


@pytest.mark.parametrize("model", [DWM, DYDIFF, ONE_STEP], ids=["stream", "on-policy", "inline"])
def test_learners_export_the_catalogue_between_them(
    model: dict[str, Any], tmp_path: Path, seen: dict[str, float]
) -> None:
    config = tiny_config(recording(tmp_path / "data.hdf5"), model)
    task_data, run = load_task_data(config), RunFolder(tmp_path)
    train_trials([config], task_data, run, ExportingServices(task_data, run))
    without_simulator = {"dwm_learner_estimate_fqe"}
    every = {f"dwm_learner_{name}" for name in ("update", "updates_per_s", "score_mean", "q_mean", "gpu_bytes")}
    assert every <= seen.keys()
    of_streams, of_rounds = {"dwm_learner_rows_fetched"}, {name for name in names("learner") if rounds_only(name)}
    wanted = {"dwm": of_streams, "dydiff": of_rounds}.get(model["name"], set())
    assert wanted <= seen.keys()
    if model["name"] == "dydiff":
        assert names("learner") - seen.keys() == of_streams | without_simulator, (
            "the catalogue names what nobody exports"
        )


def rounds_only(name: str) -> bool:
    return "(on-policy refresh)" in FAMILIES["learner"][name.removeprefix("dwm_learner_")]


def test_training_a_world_model_exports_the_catalogue(tmp_path: Path, seen: dict[str, float]) -> None:
    config = tiny_config(recording(tmp_path / "data.hdf5"))
    on_row = Gauges("world_model").set_row
    train_world_model(config, load_task_data(config), RunFolder(tmp_path), CPU, on_row=on_row)
    assert names("world_model") <= seen.keys()
    assert seen["dwm_world_model_update"] == model_options(config).num_updates


def test_a_sampler_exports_the_catalogue(seen: dict[str, float]) -> None:
    SamplerGauges("run", "sampler-0").record(10, 0.5)
    assert seen.keys() == names("sampler")

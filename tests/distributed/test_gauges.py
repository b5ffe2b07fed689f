"""The dashboard queries existing gauges by their exported names and labels; gauges are created as they appear."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property, partial
from pathlib import Path
from typing import Any, ClassVar

import pytest
from local_runs import CPU, generated_ring
from tiny_task import DWM, ONE_STEP, recording, tiny_config

from dwm_ray.config import RunConfig
from dwm_ray.data.task_data import load_task_data
from dwm_ray.distributed.metrics import gauges as module
from dwm_ray.distributed.metrics.gauges import FAMILIES, LABELS, Gauges, SamplerGauges
from dwm_ray.distributed.workers.prefetcher import BlockPrefetcher
from dwm_ray.local.services import LocalServices
from dwm_ray.replay.sources import SelectedRing, ring_key, selection, stream_of
from dwm_ray.runs.folder import RunFolder
from dwm_ray.training.fit_world_model import train_world_model
from dwm_ray.training.services import RingWithGauges
from dwm_ray.training.trials import train_trials
from dwm_ray.world_models.base import model_options

BOARD = json.loads((Path(__file__).parents[2] / "ops" / "grafana" / "dwm_ray.json").read_text())
EXPORTED = {f"ray_dwm_{family}_{name}": family for family, names in FAMILIES.items() for name in names}
PANELS = [panel for panel in BOARD["panels"] if panel["type"] != "row"]
RAYS_OWN = {"SessionName"}


class Recorded:
    """Stand-in for Ray's gauge."""

    made: ClassVar[dict[str, Recorded]] = {}

    def __init__(self, name: str, description: str, tag_keys: tuple[str, ...]) -> None:
        assert name not in Recorded.made, "created twice"
        self.description, self.tag_keys, self.labels = description, tag_keys, {}
        self.values: list[float] = []
        Recorded.made[name] = self

    def set_default_tags(self, labels: dict[str, str]) -> Recorded:
        self.labels = labels
        return self

    def set(self, value: float) -> None:
        self.values.append(value)


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> dict[str, Recorded]:
    monkeypatch.setattr(module, "Gauge", Recorded)
    monkeypatch.setattr(Recorded, "made", {})
    return Recorded.made


def queries() -> Iterator[tuple[str, str]]:
    """Yield (expression, legend) of every query of the dashboard."""
    for panel in PANELS:
        yield from ((target["expr"], target["legendFormat"]) for target in panel["targets"])


def variables() -> dict[str, dict[str, Any]]:
    return {variable["name"]: variable for variable in BOARD["templating"]["list"]}


def metrics(expression: str) -> set[str]:
    return set(re.findall(r"\b[a-z_]+(?=\{)|ray_\w+", expression))


def test_the_dashboard_queries_all_exported_gauges_and_no_others() -> None:
    queried = set().union(*(metrics(expression) for expression, _ in queries()))
    assert queried == EXPORTED.keys()
    of_variables = [v["query"]["query"] for v in BOARD["templating"]["list"] if v["type"] == "query"]
    assert of_variables
    assert set().union(*map(metrics, of_variables)) <= EXPORTED.keys()


def test_the_dashboard_uses_labels_that_its_metrics_have() -> None:
    for expression, legend in queries():
        families = {EXPORTED[metric] for metric in metrics(expression)}
        known = set.intersection(*(set(LABELS[family]) for family in families)) | RAYS_OWN
        assert set(re.findall(r"(\w+)=~", expression)) <= known, expression
        assert set(re.findall(r"{{(\w+)}}", legend)) <= known, legend
        used = set(re.findall(r"\$(\w+)", expression))
        assert used <= variables().keys(), expression
        assert expression.count("{") == expression.count("}"), expression
        assert expression.count("(") == expression.count(")"), expression


def test_the_dashboard_has_the_fields_that_grafana_reads() -> None:
    assert {"title", "uid", "schemaVersion", "panels", "templating", "time", "refresh"} <= BOARD.keys()
    ids = [panel["id"] for panel in BOARD["panels"]]
    assert len(set(ids)) == len(ids)
    for panel in PANELS:
        assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
        assert panel["title"]
        assert panel["description"]
        assert [target["refId"] for target in panel["targets"]] == list("ABCDEFGH")[: len(panel["targets"])]
    assert variables()["datasource"]["type"] == "datasource"


def test_panels_do_not_overlap() -> None:
    cells = [
        (x, y)
        for panel in BOARD["panels"]
        for x in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])
    ]
    assert len(set(cells)) == len(cells)
    assert max(x for x, _ in cells) < 24


def test_gauges_are_created_once_with_help_and_labels(made: dict[str, Recorded]) -> None:
    gauges = Gauges("learner", {"trial": "abc"})
    gauges.set({"q_mean": 1, "own_loss": 0.5, "returns": [1.0], "final": True})
    gauges.set({"q_mean": 2.5})
    assert {name: gauge.values for name, gauge in made.items()} == {
        "dwm_learner_q_mean": [1.0, 2.5],
        "dwm_learner_own_loss": [0.5],
    }
    assert made["dwm_learner_q_mean"].description == FAMILIES["learner"]["q_mean"]
    assert made["dwm_learner_own_loss"].labels == {"trial": "abc"}
    with pytest.raises(AssertionError, match="no other labels"):
        Gauges("buffer", {"stream": "x"})


def test_a_sampler_exports_totals_rate_and_utilisation(
    made: dict[str, Recorded], monkeypatch: pytest.MonkeyPatch
) -> None:
    times = iter([102.0, 110.0])
    monkeypatch.setattr(module.time, "perf_counter", lambda: next(times))
    gauges = SamplerGauges("run", "sampler-0")
    gauges.record(10, 2.0)  # from 100 to 102
    gauges.record_oom_split()
    gauges.record(30, 3.0)  # from 107 to 110
    assert made["dwm_sampler_segments"].values == [10, 40]
    assert made["dwm_sampler_segments_per_s"].values == [5, 10]
    assert made["dwm_sampler_busy_fraction"].values == [1, 0.5]
    assert made["dwm_sampler_oom_splits"].values == [0, 1, 1]
    assert made.keys() == {f"dwm_sampler_{name}" for name in FAMILIES["sampler"]}


DYDIFF = {
    **{"name": "dydiff", "sequence_length": 8, "dim": 8, "multipliers": [1, 2], "solver_steps": 2},
    **{"num_updates": 20, "batch_size": 32, "ensemble_width": 16},
}


def names(family: str) -> set[str]:
    return {f"dwm_{family}_{name}" for name in FAMILIES[family]}


class ExportingServices(LocalServices):
    """Services in this process that export gauges as those of a worker do."""

    @contextmanager
    def streams(self, configs: Sequence[RunConfig]) -> Iterator[dict[str, RingWithGauges]]:
        [config] = configs
        spec = stream_of(config, self._task_data)
        own = SelectedRing(spec, selection(config), config.replay, CPU)
        own._ring = generated_ring(config, self._task_data, self.world_model(config))
        prefetcher = BlockPrefetcher(None, spec, [own], "trial", 1.0)
        yield {ring_key(config, self._task_data): RingWithGauges(own.ring, partial(prefetcher.gauges, own))}

    @cached_property
    def _gauges(self) -> Gauges:
        return Gauges("learner")

    def on_row(self, trial_id: str, row: dict[str, Any]) -> None:
        self._gauges.set_row(row)


@pytest.mark.parametrize("model", [DWM, DYDIFF, ONE_STEP], ids=["stream", "on-policy", "inline"])
def test_learners_export_the_catalogue_between_them(
    model: dict[str, Any], tmp_path: Path, made: dict[str, Recorded]
) -> None:
    config = tiny_config(recording(tmp_path / "data.hdf5"), model)
    task_data, run = load_task_data(config), RunFolder(tmp_path)
    train_trials([config], task_data, run, ExportingServices(task_data, run))
    without_simulator = {"dwm_learner_estimate_fqe"}
    every = {f"dwm_learner_{name}" for name in ("update", "updates_per_s", "score_mean", "q_mean", "gpu_bytes")}
    assert every <= made.keys()
    of_streams, of_rounds = {"dwm_learner_rows_fetched"}, {name for name in names("learner") if rounds_only(name)}
    wanted = {"dwm": of_streams, "dydiff": of_rounds}.get(model["name"], set())
    assert wanted <= made.keys()
    if model["name"] == "dydiff":
        assert names("learner") - made.keys() == of_streams | without_simulator, (
            "the catalogue names what nobody exports"
        )


def rounds_only(name: str) -> bool:
    return "(on-policy refresh)" in FAMILIES["learner"][name.removeprefix("dwm_learner_")]


def test_training_a_world_model_exports_the_catalogue(tmp_path: Path, made: dict[str, Recorded]) -> None:
    config = tiny_config(recording(tmp_path / "data.hdf5"))
    on_row = Gauges("world_model").set_row
    train_world_model(config, load_task_data(config), RunFolder(tmp_path), CPU, on_row=on_row)
    assert names("world_model") <= made.keys()
    assert made["dwm_world_model_update"].values[-1] == model_options(config).num_updates

"""Which trials form a learner in a sweep: no trial twice, none missing, and work for all processes."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from tiny_task import ONE_STEP, recording, tiny_config

from dwm_ray.distributed.services import ClusterServices
from dwm_ray.distributed.tune.sweep import populations
from dwm_ray.distributed.tune.trial import as_params
from dwm_ray.experiment.search_space import Trial
from dwm_ray.runs.folder import RunFolder


@pytest.fixture
def trials(tmp_path: Path) -> list[Trial]:
    """Eight trials of two agents that can form populations, two that cannot."""
    file = recording(tmp_path / "pendulum.hdf5")
    able = [tiny_config(file, agent=agent, seed=seed) for agent in ("td3_bc", "iql") for seed in range(4)]
    return [Trial(config, {"seed": config.seed}) for config in [*able, *unable(file)]]


def unable(file: Path) -> list[Any]:
    return [tiny_config(file, ONE_STEP), tiny_config(file, agent="cql")]


def services(folder: Path, at_once: int) -> ClusterServices:
    return cast(
        ClusterServices, SimpleNamespace(run=RunFolder(folder), placement=SimpleNamespace(concurrent_trials=at_once))
    )


def sizes(found: list[dict[str, Any]]) -> list[int]:
    return sorted(len(population["trials"]) for population in found)


@pytest.mark.parametrize(
    ("most", "at_once", "expected"),
    [
        (1, 2, [1] * 10),
        (8, 2, [1] * 2 + [4] * 2),
        (3, 2, [1] * 2 + [2] * 4),
        (8, 5, [1] * 2 + [2] * 4),
        (8, 16, [1] * 2 + [1] * 8),
    ],
)
def test_populations(most: int, at_once: int, expected: list[int], trials: list[Trial], tmp_path: Path) -> None:
    found = populations(trials, services(tmp_path, at_once), most)
    assert sizes(found) == expected
    configs = sorted(each["config"] for population in found for each in population["trials"])
    assert configs == sorted(trial.config.model_dump_json() for trial in trials)
    assert len({population["name"] for population in found}) == len(found)


def test_populations_that_train_a_world_model_start_first_and_longer_ones_before_shorter_ones(
    trials: list[Trial], tmp_path: Path
) -> None:
    """CQL takes longer than four IQL members and trains the model of most; a single trial has a model of its own."""
    found = populations(trials, services(tmp_path, 2), 8)
    order = [(json.loads(own["trials"][0]["config"])["agent"]["name"], len(own["trials"])) for own in found]
    assert order == [("cql", 1), ("td3_bc", 1), ("iql", 4), ("td3_bc", 4)]


def test_a_population_is_named_by_its_members(trials: list[Trial]) -> None:
    names = {as_params(own)["name"] for own in (trials[:2], trials[1:3], trials[:3])}
    assert len(names) == 3
    assert as_params(trials[:1])["name"] == trials[0].id

"""Which trials one process takes: no trial twice, none lost, and work for all processes."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from tiny_task import ONE_STEP, recording, tiny_config

from dwm_ray.distributed.tune.sweep import as_params, parties_of
from dwm_ray.distributed.tune.trial import ClusterServices
from dwm_ray.experiment.search_space import Trial
from dwm_ray.runs.folder import RunFolder


@pytest.fixture
def trials(tmp_path: Path) -> list[Trial]:
    """Eight of two agents that can learn as one, two that cannot."""
    file = recording(tmp_path / "pendulum.hdf5")
    able = [tiny_config(file, agent=agent, seed=seed) for agent in ("td3_bc", "iql") for seed in range(4)]
    return [Trial(config, {"seed": config.seed}) for config in [*able, *unable(file)]]


def unable(file: Path) -> list[Any]:
    return [tiny_config(file, ONE_STEP), tiny_config(file, agent="cql")]


def services(folder: Path, at_once: int) -> ClusterServices:
    return cast(
        ClusterServices, SimpleNamespace(run=RunFolder(folder), placement=SimpleNamespace(concurrent_trials=at_once))
    )


def sizes(parties: list[dict[str, Any]]) -> list[tuple[int, bool]]:
    return sorted((len(party["trials"]), party["as_one"]) for party in parties)


@pytest.mark.parametrize(
    ("most", "at_once", "expected"),
    [
        (1, 2, [(1, False)] * 10),
        (8, 2, [(1, False)] * 2 + [(4, True)] * 2),
        (3, 2, [(1, False)] * 2 + [(2, True)] * 4),
        (8, 5, [(1, False)] * 2 + [(2, True)] * 4),
        (8, 16, [(1, False)] * 2 + [(1, True)] * 8),
    ],
)
def test_parties(
    most: int, at_once: int, expected: list[tuple[int, bool]], trials: list[Trial], tmp_path: Path
) -> None:
    parties = parties_of(trials, services(tmp_path, at_once), most)
    assert sizes(parties) == expected
    told = sorted(each["config"] for party in parties for each in party["trials"])
    assert told == sorted(trial.config.model_dump_json() for trial in trials)
    assert len({party["name"] for party in parties}) == len(parties)


def test_long_parties_come_first_and_those_that_build_a_world_model_before_them(
    trials: list[Trial], tmp_path: Path
) -> None:
    """CQL, which takes longer than four of IQL, builds the model of most; a single trial has one of its own."""
    parties = parties_of(trials, services(tmp_path, 2), 8)
    found = [(json.loads(party["trials"][0]["config"])["agent"]["name"], len(party["trials"])) for party in parties]
    assert found == [("cql", 1), ("td3_bc", 1), ("iql", 4), ("td3_bc", 4)]


def test_a_population_is_named_by_its_members(trials: list[Trial]) -> None:
    names = {as_params(party, as_one=True)["name"] for party in (trials[:2], trials[1:3], trials[:3])}
    assert len(names) == 3
    assert as_params(trials[:1])["name"] == trials[0].id

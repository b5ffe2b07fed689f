"""Options that decide where and how a run is executed change neither names nor rows."""

from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import BaseModel
from tiny_task import ONE_STEP, recording, tiny_config

from dwm_ray.agents.base import new_agent
from dwm_ray.blocks.stream import StreamSpec
from dwm_ray.config import RunConfig
from dwm_ray.data.task_data import DataIdentity, load_task_data
from dwm_ray.data.transitions import real_segments
from dwm_ray.experiment.profiles import run_config
from dwm_ray.experiment.search_space import Trial
from dwm_ray.options import ClusterConfig, ExecutionConfig
from dwm_ray.replay.on_policy import LocalRollouts, RolloutContext
from dwm_ray.replay.sources import selection
from dwm_ray.world_models.parts.build import model_fingerprint, new_model

PLACEMENT: list[tuple[str, type[BaseModel]]] = [("cluster", ClusterConfig), ("execution", ExecutionConfig)]
LEAVES = [(group, leaf) for group, cls in PLACEMENT for leaf in cls.model_fields]
CPU = torch.device("cpu")


def names(config: RunConfig) -> tuple[str, str, str]:
    """Return trial id, world-model fingerprint and stream fingerprint."""
    model = model_fingerprint(config, DataIdentity("data", 1.0, 100))
    return Trial(config, {}).id, model, StreamSpec.of(config, model, 100).fingerprint


def other_value(value: Any) -> Any:
    """Return a valid value that differs from `value`."""
    if isinstance(value, bool):
        return not value
    return "off" if value is None or isinstance(value, str) else value + 1


@pytest.mark.parametrize(("group", "leaf"), LEAVES)
def test_placement_changes_no_name(group: str, leaf: str) -> None:
    config = run_config("laptop", "dwm", "td3_bc")
    value = other_value(getattr(getattr(config, group), leaf))
    changed = config.with_values({f"{group}.{leaf}": value})
    assert changed != config
    assert names(changed) == names(config)


@pytest.mark.parametrize("path", ["seed", "training.discount", "synthesis.rollout_shards", "agent.alpha"])
def test_every_other_option_changes_the_trial_id(path: str) -> None:
    config = run_config("laptop", "dwm", "td3_bc")
    value = 0.5 if path == "training.discount" else 7
    assert Trial(config.with_values({path: value}), {}).id != Trial(config, {}).id


def test_rows_of_a_refresh_do_not_depend_on_the_number_of_samplers(tmp_path: Path) -> None:
    file = recording(tmp_path / "pendulum.hdf5")
    shards = []
    for num_samplers in (1, 4):
        options = {"synthesis.rollout_shards": 2, "cluster.num_samplers": num_samplers}
        config = tiny_config(file, ONE_STEP, **options)
        task_data = load_task_data(config)
        model, agent = new_model(config, task_data, CPU), new_agent(config, task_data, CPU)
        starts = real_segments(task_data.episodes, config.training.discount, CPU)
        context = RolloutContext(model, starts, task_data.task.termination, selection(config), torch.zeros(len(starts)))
        rollouts = LocalRollouts(config, context)
        rollouts.submit(0, agent)
        shards.append([shard.rows for shard in rollouts.collect(0)])
    assert len(shards[0]) == 2
    assert all(torch.equal(one, four) for one, four in zip(*shards, strict=True))

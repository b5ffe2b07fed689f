from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_task import recording, tiny_config

from dwm_ray.config import RunConfig
from dwm_ray.data.split import split_episodes
from dwm_ray.data.statistics import return_to_go
from dwm_ray.data.task_data import TaskData, load_task_data, window_sets
from dwm_ray.data.transitions import fused_rows
from dwm_ray.data.windows import WindowSet
from dwm_ray.local.executor import run_configs
from dwm_ray.runs.folder import RunFolder

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> RunConfig:
    return tiny_config(recording(tmp_path_factory.mktemp("data") / "pendulum.hdf5"))


def test_a_run_computes_start_pairs_and_returns_to_go_once(config: RunConfig, tmp_path: Path) -> None:
    fused_rows.cache_clear()
    return_to_go.cache_clear()
    task_data = load_task_data(config)
    again = TaskData.of(config, task_data.episodes)
    run_configs([config], RunFolder(tmp_path), task_data.episodes)
    assert (fused_rows.cache_info().misses, return_to_go.cache_info().misses) == (1, 1)
    first, second = (data.start_pairs(config.training.discount, CPU) for data in (task_data, again))
    assert first.obs.data_ptr() == second.obs.data_ptr()
    task_data.start_pairs(0.5, CPU)
    assert fused_rows.cache_info().misses == 2


def test_computed_labels_cannot_be_changed(config: RunConfig) -> None:
    with pytest.raises(ValueError, match="read-only"):
        return_to_go(load_task_data(config).episodes, 0.9)[0] = 1.0


def test_window_sets_are_those_of_the_split_episodes(config: RunConfig) -> None:
    task_data = load_task_data(config)
    scale, discount = task_data.task.rtg_scale, config.training.discount
    parts = split_episodes(task_data.episodes, config.data.holdout_ratio)
    for windows, episodes in zip(window_sets(config, task_data, 4, CPU), parts, strict=True):
        every = torch.arange(episodes.num_transitions)
        expected = vars(WindowSet(episodes, 4, discount, scale).gather(every))
        found = vars(windows.gather(every))
        assert windows.num_windows == len(every)
        assert all(np.array_equal(found[name], expected[name]) for name in expected)

"""Tiny data and world models for the studies."""

from pathlib import Path

import pytest
import torch
from tiny_task import DWM, ONE_STEP, tiny_config

from dwm_ray.config import RunConfig
from dwm_ray.data.task_data import load_task_data
from dwm_ray.runs.folder import RunFolder
from dwm_ray.studies.base import StudyContext


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the world models of all tests: they are trained once."""
    return tmp_path_factory.mktemp("studies")


@pytest.fixture
def context(file: Path, store: Path) -> StudyContext:
    config = tiny_config(file)
    return StudyContext(
        config, "laptop", load_task_data(config), torch.device("cpu"), RunFolder(store), lambda line: None
    )


@pytest.fixture
def tiny_models(monkeypatch: pytest.MonkeyPatch) -> None:
    """World models other than the run's own are tiny too, whatever the profile says."""
    from dwm_ray.experiment import profiles

    usual = profiles.with_method
    sizes = {"dwm": DWM, "one_step": ONE_STEP}

    def tiny(run: RunConfig, profile: profiles.Profile, world_model: str, agent: str) -> RunConfig:
        config = usual(run, profile, world_model, agent)
        return config.with_values({f"world_model.{k}": v for k, v in sizes.get(world_model, {}).items() if k != "name"})

    monkeypatch.setattr(profiles, "with_method", tiny)

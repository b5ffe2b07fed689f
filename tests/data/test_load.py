import json
from pathlib import Path

import numpy as np
import pytest
from recordings import pendulum, write

from dwm_ray.data import d4rl
from dwm_ray.data.load import describe_line, load_episodes, summary
from dwm_ray.options import DataConfig
from dwm_ray.tasks.table import task_for

HOPPER = {**pendulum(), "observations": np.ones((12, 11)), "actions": np.zeros((12, 3))}


@pytest.fixture(autouse=True)
def sets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("D4RL_DATASET_DIR", str(tmp_path))
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    return tmp_path


def test_bundled_recording_is_the_last_resort_and_says_so() -> None:
    data = load_episodes("halfcheetah-medium-replay", DataConfig())
    assert data.card.source == "bundled SAC recording (not D4RL's)"
    assert data.card.env_id == "HalfCheetah-v5"
    assert (data.num_transitions, data.num_episodes) == (50_000, 50)
    assert data.known_next.all()
    facts = summary(data, task_for(data.card.name, data.card.env_id, 0.0))
    assert json.loads(json.dumps(facts)) == facts
    assert facts["score_mean"] == pytest.approx(100 * (facts["return_mean"] + 280.178953) / (12135.0 + 280.178953))
    assert facts["return_min"] < facts["return_mean"] < facts["return_max"]
    text = describe_line(facts)
    assert "not D4RL's" in text
    assert "50,000 transitions in 50 episodes" in text


def test_d4rls_own_file_comes_first(sets: Path) -> None:
    write(sets / "hopper_medium-v2.hdf5", HOPPER)
    card = load_episodes("hopper-medium", DataConfig()).card
    assert (card.source, card.env_id, card.name) == ("D4RL v2", "Hopper-v4", "hopper-medium")


def test_download_fetches_d4rls_file(sets: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(d4rl, "download", lambda task, progress: write(sets / d4rl.file_name(task), HOPPER))
    assert load_episodes("hopper-medium", DataConfig(), download=True).card.source == "D4RL v2"


def test_file_option_takes_any_task_name(sets: Path) -> None:
    path = write(sets / "mine.h5", pendulum())
    card = load_episodes("my-task", DataConfig(file=str(path), env="Pendulum-v1")).card
    assert (card.source, card.name, card.env_id) == ("file", "my-task", "Pendulum-v1")


@pytest.mark.parametrize(
    ("task", "config", "message"),
    [
        ("hopper-medum", DataConfig(), "--task: unknown task 'hopper-medum'; did you mean hopper-medium"),
        ("hopper-medium", DataConfig(), "Bundled: halfcheetah-medium-replay"),
        ("hopper-medium", DataConfig(env="Hopper-v5"), "--data.env Hopper-v5: only together with --data.file"),
        ("x", DataConfig(file="a.csv"), "--data.file a.csv: unknown suffix '.csv'"),
        ("x", DataConfig(file="/nowhere/a.parquet"), "/nowhere/a.parquet: no such file"),
        ("minari:a/b-v0", DataConfig(), "minari:a/b-v0: not on this machine"),
    ],
)
def test_faults_name_the_option(task: str, config: DataConfig, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        load_episodes(task, config)

import doctest
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from recordings import CARD, pendulum, write

from dwm_ray.data import d4rl, load
from dwm_ray.data.checks import episodes_from
from dwm_ray.data.export import write_minari
from dwm_ray.data.load import load_dataset, load_episodes
from dwm_ray.data.summary import data_summary, summary_text
from dwm_ray.options import DataConfig
from dwm_ray.tasks.table import task_for

HOPPER = {**pendulum(), "observations": np.eye(11)[np.zeros(12, int)], "actions": np.zeros((12, 3))}


def test_bundled_recording_is_the_last_resort_and_named_as_such() -> None:
    data = load_dataset("halfcheetah-medium-replay")
    assert data.card.source == "bundled SAC recording (not D4RL's)"
    assert data.card.env_id == "HalfCheetah-v5"
    assert (data.obs.shape, data.act.shape, data.num_episodes) == ((50_000, 17), (50_000, 6), 50)
    assert data.known_next.all()
    facts = data_summary(data, task_for(data.card.name, data.card.env_id, 0.0))
    assert json.loads(json.dumps(facts)) == facts
    assert facts["score_mean"] == pytest.approx(100 * (facts["return_mean"] + 280.178953) / (12135.0 + 280.178953))
    assert facts["return_min"] < facts["return_mean"] < facts["return_max"]
    text = summary_text(facts)
    assert "not D4RL's" in text
    assert "50,000 transitions in 50 episodes" in text


def test_the_documented_example_runs() -> None:
    assert doctest.testmod(load) == (0, 5)


def test_d4rls_own_file_comes_first(datasets: Path) -> None:
    write(datasets / "hopper_medium-v2.hdf5", HOPPER)
    card = load_episodes("hopper-medium", DataConfig()).card
    assert (card.source, card.env_id, card.name) == ("D4RL v2", "Hopper-v4", "hopper-medium")


def test_download_fetches_d4rls_file(datasets: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(d4rl, "download", lambda task, on_progress: write(datasets / d4rl.file_name(task), HOPPER))
    assert load_dataset("hopper-medium", download=True).card.source == "D4RL v2"


def test_files_are_read_under_any_task_name(tmp_path: Path) -> None:
    path = write(tmp_path / "mine.h5", pendulum())
    own = load_episodes("my-task", DataConfig(file=str(path), env="Pendulum-v1")).card
    assert (own.source, own.name, own.env_id) == ("file", "my-task", "Pendulum-v1")
    result = load_dataset(str(path), env_id="Pendulum-v1").card
    assert (result.name, result.fingerprint) == ("mine", own.fingerprint)


@pytest.mark.parametrize(
    ("task", "config", "message"),
    [
        ("hopper-medum", DataConfig(), "--task: unknown task 'hopper-medum'; did you mean hopper-medium"),
        ("hopper-medium", DataConfig(), "or a bundled task: halfcheetah-medium-replay"),
        ("x", DataConfig(file="a.csv"), "--data.file a.csv: unknown suffix '.csv'"),
        ("x", DataConfig(file="/nowhere/a.parquet"), "/nowhere/a.parquet: no such file"),
        ("minari:a/b-v0", DataConfig(), "minari:a/b-v0: not on this machine"),
    ],
)
def test_errors_name_the_option(task: str, config: DataConfig, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        load_episodes(task, config)


def test_errors_of_load_dataset_name_the_file(tmp_path: Path) -> None:
    (tmp_path / "a.csv").touch()
    for name, message in (("a.csv", "unknown suffix '.csv'; expected .hdf5"), ("gone.h5", "gone.h5: no such file")):
        with pytest.raises(ValueError, match=message):
            load_dataset(str(tmp_path / name))


def parquet(path: Path, rows: slice) -> None:
    content = {key: array[rows] for key, array in pendulum().items()}
    columns = {key: list(array) if array.ndim > 1 else array for key, array in content.items()}
    path.parent.mkdir(exist_ok=True)
    pq.write_table(pa.table(columns), path)


def test_a_folder_of_parquet_files_is_read_in_the_order_of_numbers(tmp_path: Path) -> None:
    for name, rows in (("part-10", slice(8, 12)), ("part-2", slice(0, 8))):
        parquet(tmp_path / "set" / f"{name}.parquet", rows)
    (tmp_path / "set" / "_SUCCESS").touch()
    data = load_dataset(str(tmp_path / "set"), env_id="Pendulum-v1")
    np.testing.assert_array_equal(data.obs, pendulum()["observations"])
    assert data.card.name == "set"
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="empty: holds no Parquet files"):
        load_dataset(str(tmp_path / "empty"), env_id="Pendulum-v1")


def test_parquet_files_that_cannot_be_read_or_joined_are_named(tmp_path: Path) -> None:
    parquet(tmp_path / "set" / "a.parquet", slice(0, 8))
    (tmp_path / "set" / "b.parquet").write_text("not Parquet")
    with pytest.raises(ValueError, match=r"b.parquet: cannot be read as Parquet"):
        load_dataset(str(tmp_path / "set"), env_id="Pendulum-v1")
    pq.write_table(pa.table({"rewards": ["a", "b"]}), tmp_path / "set" / "b.parquet")
    with pytest.raises(ValueError, match="set: its files have different columns"):
        load_dataset(str(tmp_path / "set"), env_id="Pendulum-v1")
    parquet(tmp_path / "set" / "b.parquet", slice(8, 12))
    named = pq.read_table(tmp_path / "set" / "b.parquet").replace_schema_metadata({"env_id": "Hopper-v5"})
    pq.write_table(named, tmp_path / "set" / "b.parquet")
    with pytest.raises(ValueError, match="set: its files have different metadata 'env_id'; expected files of one"):
        load_dataset(str(tmp_path / "set"), env_id="Pendulum-v1")


@pytest.mark.parametrize("part", ["", "data", "data/main_data.hdf5"])
def test_the_files_of_a_minari_set_are_read_as_the_set(part: str, datasets: Path) -> None:
    following = {"next_observations": np.roll(pendulum()["observations"], -1, axis=0)}
    created = episodes_from({**pendulum(), **following}, CARD)
    write_minari(created, "test/pendulum-v0", "made-up")
    data = load_dataset(str(datasets / "test" / "pendulum-v0" / part))
    assert (data.card.source, data.card.env_id, data.card.fingerprint) == (
        "Minari",
        "Pendulum-v1",
        created.card.fingerprint,
    )


def test_a_minari_file_without_its_set_is_named(datasets: Path) -> None:
    write(datasets / "main_data.hdf5", pendulum())
    with pytest.raises(ValueError, match=r"main_data.hdf5: cannot be loaded by Minari: .*next to metadata.json"):
        load_dataset(str(datasets / "main_data.hdf5"))


def test_repairs_are_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    content = {**pendulum(), "next_observations": np.roll(pendulum()["observations"], -1, axis=0)}
    path = write(tmp_path / "mine.hdf5", {**content, "timeouts": np.zeros(12, bool)}, env_id="Hopper-v4")
    load_dataset(str(path), env_id="Pendulum-v1")
    assert "names the environment Hopper-v4; Pendulum-v1 is used" in caplog.text

"""Datasets larger than memory: the same rows as in memory, converted once, and never used half-written."""

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from tiny_task import DWM, recording, tiny_config

from dwm_ray.data import chunks, mapped
from dwm_ray.data.content import ARRAYS
from dwm_ray.data.export import write_minari, write_parquet
from dwm_ray.data.load import load_dataset
from dwm_ray.data.statistics import data_stats
from dwm_ray.data.task_data import load_task_data, window_sets
from dwm_ray.data.transitions import fused_rows
from dwm_ray.types import Episodes

CPU = torch.device("cpu")


@pytest.fixture(params=["with next observations", "without"])
def file(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    path = recording(tmp_path / "pendulum.hdf5")
    if request.param == "without":
        with h5py.File(path, "a") as content:
            del content["next_observations"]
    return path


@pytest.fixture
def cache_of(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[], Path]:
    """From the call on, a cache for data of any size, which are processed 100 rows at a time."""

    def start() -> Path:
        monkeypatch.setenv("DWM_RAY_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(mapped, "LARGE", 1)
        monkeypatch.setattr(chunks, "CHUNK", 100)
        return tmp_path / "cache"

    return start


@pytest.fixture
def cache(cache_of: Callable[[], Path]) -> Path:
    return cache_of()


def folders(cache: Path) -> set[str]:
    return {path.name for path in cache.iterdir() if path.is_dir()}


def test_mapped_episodes_equal_those_in_memory(file: Path, cache_of: Callable[[], Path]) -> None:
    usual = load_dataset(str(file))
    plain = [fused_rows(usual, 0.99, CPU, with_next_act) for with_next_act in (False, True)]
    stats = data_stats(usual, 0.99)
    cache = cache_of()
    result = load_dataset(str(file))
    assert result.card == usual.card
    assert result.spaces == usual.spaces
    for name in ARRAYS:
        assert isinstance(getattr(result, name), np.memmap), name
        np.testing.assert_array_equal(getattr(result, name), getattr(usual, name))
    for with_next_act, (rows, shape) in zip((False, True), plain, strict=True):
        mapped_rows, mapped_shape = fused_rows(result, 0.99, CPU, with_next_act)
        torch.testing.assert_close(mapped_rows, rows, rtol=0, atol=0, equal_nan=True)
        assert mapped_shape == shape
    for name, value in vars(data_stats(result, 0.99)).items():
        np.testing.assert_allclose(value, getattr(stats, name), rtol=1e-6, err_msg=name)
    assert len(folders(cache)) == 3, "episodes and two kinds of rows; no temporary files"


def test_rows_are_mapped_during_the_conversion_too(file: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with h5py.File(file, "a") as content:
        if "next_observations" in content:
            content["next_observations"][199] = np.nan
    write, result = mapped._write, []
    monkeypatch.setattr(mapped, "_write", lambda part, episodes: (result.append(episodes), write(part, episodes)))
    load_dataset(str(file))
    for name in ("obs", "act", "next_obs"):
        assert isinstance(getattr(result[0], name), np.memmap), name


@pytest.mark.parametrize("kind", ["parquet", "minari"])
def test_other_formats_are_mapped_too(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cache_of: Callable[[], Path]
) -> None:
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))
    data = load_dataset(str(recording(tmp_path / "pendulum.hdf5")))
    if kind == "minari":
        write_minari(data, "test/mapped-v0", "made-up")
        name = "minari:test/mapped-v0"
    else:
        write_parquet(data, tmp_path / "a.parquet")
        name = str(tmp_path / "a.parquet")
    usual, cache = load_dataset(name), cache_of()
    result = load_dataset(name)
    assert (result.card, result.spaces) == (usual.card, usual.spaces)
    for array in ARRAYS:
        assert isinstance(getattr(result, array), np.memmap), array
        np.testing.assert_array_equal(getattr(result, array), getattr(usual, array))
    assert len(folders(cache)) == 1
    assert load_dataset(name).card == usual.card
    assert len(folders(cache)) == 1


def test_parts_that_do_not_fit_are_refused() -> None:
    row, wide = np.zeros((1, 2), np.float32), np.zeros((1, 3), np.float32)
    with pytest.raises(ValueError, match=r"a.parquet: 'actions' has rows of shape \(2,\) \(float32\) and of \(3,\)"):
        mapped.joined("a.parquet", [{"actions": row}, {"actions": wide}], 2)
    with pytest.raises(ValueError, match=r"and of \(2,\) \(float32\); expected equal shapes and types"):
        mapped.joined("a.parquet", [{"actions": row.astype(int)}, {"actions": row}], 2)
    with pytest.raises(ValueError, match=r"a.parquet: holds no rows"):
        mapped.joined("a.parquet", [], 0)


def test_a_file_is_converted_once_and_again_after_a_change(
    file: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = load_dataset(str(file))
    monkeypatch.setattr(mapped, "_write", lambda *args: pytest.fail("converted twice"))
    assert load_dataset(str(file)).card == first.card
    monkeypatch.undo()
    monkeypatch.setenv("DWM_RAY_CACHE", str(cache))
    monkeypatch.setattr(mapped, "LARGE", 1)
    with h5py.File(file, "a") as content:
        content["rewards"][0] = 7.0
    os.utime(file, ns=(1, 1))
    assert load_dataset(str(file)).rew[0] == 7.0
    assert len(folders(cache)) == 2


def test_one_process_converts_while_others_wait(cache: Path) -> None:
    written: list[int] = []

    def write(part: Path) -> None:
        written.append(1)
        time.sleep(0.1)
        (part / "done").write_text("")

    threads = [threading.Thread(target=mapped._complete, args=(cache / "set", write)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert written == [1]
    assert (cache / "set" / "done").is_file()


def test_a_conversion_that_breaks_off_does_not_look_whole(file: Path, cache: Path) -> None:
    def fail() -> Episodes:
        raise KeyboardInterrupt

    key = mapped.source_key([file])
    with pytest.raises(KeyboardInterrupt):
        mapped.mapped_episodes(key, fail)
    assert folders(cache) == {f"{key}.part"}
    usual = load_dataset(str(file))
    assert mapped.mapped_episodes(key, lambda: usual).card == usual.card
    assert f"{key}.part" not in folders(cache)


def test_files_that_read_back_differently_are_refused(file: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usual = load_dataset(str(file))
    opened = mapped._open
    monkeypatch.setattr(mapped, "_open", lambda path: opened(path) * 0)
    with pytest.raises(ValueError, match=r"cannot hold a converted dataset \(the files differ from the data"):
        mapped.mapped_episodes("other", lambda: usual)


def test_a_cache_that_cannot_be_written_is_named(
    file: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("DWM_RAY_CACHE", str(file / "inside"))
    with pytest.raises(ValueError, match=r"inside: cannot hold a converted dataset .*expected DWM_RAY_CACHE"):
        load_dataset(str(file))


def test_changes_of_mapped_rows_stay_in_the_process(file: Path, cache: Path) -> None:
    rows, _ = fused_rows(load_dataset(str(file)), 0.99, CPU, False)
    rows[0] = 0.0
    assert not torch.equal(fused_rows(load_dataset(str(file)), 0.99, CPU, False)[0][0], rows[0])


def test_world_models_learn_from_mapped_data(file: Path, cache: Path) -> None:
    config = tiny_config(file, DWM)
    train, holdout = window_sets(config, load_task_data(config), 4, CPU)
    assert train.num_windows > holdout.num_windows > 0

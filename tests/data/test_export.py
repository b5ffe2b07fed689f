from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from recordings import CARD, pendulum, write

from dwm_ray.data import d4rl, parquet
from dwm_ray.data.checks import Arrays, episodes_from
from dwm_ray.data.content import ARRAYS
from dwm_ray.data.export import write_hdf5, write_parquet
from dwm_ray.env_options import EnvOptions
from dwm_ray.types import Episodes

every_format = pytest.mark.parametrize(
    ("write_to", "read", "suffix"),
    [(write_hdf5, d4rl.read, "hdf5"), (write_parquet, parquet.read, "parquet")],
)


@pytest.mark.parametrize("following", [{}, {"next_observations": pendulum()["observations"] + 1}])
@every_format
def test_written_file_reads_back(
    tmp_path: Path,
    following: Arrays,
    write_to: Callable[[Episodes, Path], None],
    read: Callable[..., Episodes],
    suffix: str,
) -> None:
    data, path = episodes_from({**pendulum(), **following}, CARD), tmp_path / f"x.{suffix}"
    write_to(data, path)
    back = read(path, "x", "file", None)
    assert back.card.env_id == "Pendulum-v1"
    for name in ARRAYS:
        result, expected = (getattr(episodes, name)[data.known_next] for episodes in (back, data))
        np.testing.assert_array_equal(result, expected)
    np.testing.assert_array_equal(back.obs, data.obs)
    np.testing.assert_array_equal(back.known_next, data.known_next)
    with pytest.raises(ValueError, match=rf"x.{suffix}: exists already"):
        write_to(data, path)


@every_format
def test_options_of_the_environment_are_written_and_read(
    tmp_path: Path,
    write_to: Callable[[Episodes, Path], None],
    read: Callable[..., Episodes],
    suffix: str,
) -> None:
    options = EnvOptions('{"g": 9.0}', 300, (("RescaleAction", '{"max_action": 1.0, "min_action": -1.0}'),))
    path = tmp_path / f"x.{suffix}"
    content = pendulum()
    write_to(episodes_from({**content, "actions": content["actions"] / 2}, replace(CARD, env_options=options)), path)
    back = read(path, "x", "file", None)
    assert back.card.env_options == options
    assert back.spaces.act_high == (1.0,)
    changed = read(path, "x", "file", "Pendulum-v1", '{"g": 8.0}').card
    assert changed.env_options == replace(options, kwargs='{"g": 8.0}')
    assert read(path, "x", "file", "none").card.env_options == EnvOptions()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("env_kwargs", "[1]"),
        ("env_kwargs", "{"),
        ("env_kwargs", 3),
        ("env_max_episode_steps", "0"),
        ("env_wrappers", '[["NormalizeObservation", "{}"]]'),
    ],
)
def test_options_that_cannot_be_used_are_refused_by_the_name_of_their_attribute(
    tmp_path: Path, name: str, value: object
) -> None:
    path = write(tmp_path / "x.hdf5", pendulum(), env_id="Pendulum-v1")
    with h5py.File(path, "a") as file:
        file.attrs[name] = value
    with pytest.raises(ValueError, match=rf"x.hdf5: attribute '?{name}.*; expected"):
        d4rl.read(path, "x", "file", None)
    assert d4rl.read(path, "x", "file", "none").card.env_id is None


def test_hdf5_has_attributes_and_no_filler_for_unknown_states(tmp_path: Path) -> None:
    write_hdf5(episodes_from(pendulum(), CARD), tmp_path / "x.hdf5", {"seed": 3})
    with h5py.File(tmp_path / "x.hdf5") as file:
        assert file.attrs["seed"] == 3
        assert "next_observations" not in file


def test_a_full_disk_is_an_error_and_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "x.hdf5.part").symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left on device"):
        write_hdf5(episodes_from(pendulum(), CARD), tmp_path / "x.hdf5")
    assert not list(tmp_path.glob("x.*"))


def table(**columns: list[object]) -> pa.Table:
    return pa.table({**{key: value.tolist() for key, value in pendulum().items()}, **columns})


def test_plain_lists_of_other_writers_are_read(tmp_path: Path) -> None:
    pq.write_table(table(), tmp_path / "plain.parquet")
    data = parquet.read(tmp_path / "plain.parquet", "x", "file", "Pendulum-v1")
    np.testing.assert_array_equal(data.obs, pendulum()["observations"])


def test_next_observations_that_are_all_null_are_unknown(tmp_path: Path) -> None:
    for kind in (pa.list_(pa.float32()), pa.null()):
        pq.write_table(table(next_observations=pa.nulls(12, kind)), tmp_path / "a.parquet")
        data = parquet.read(tmp_path / "a.parquet", "x", "file", "Pendulum-v1")
        assert np.flatnonzero(~data.known_next).tolist() == [4, 11]


def test_faults_of_parquet_files_are_named(tmp_path: Path) -> None:
    path = tmp_path / "bad.parquet"
    cases = {
        "column 'actions' holds vectors of lengths": table(actions=[[0.0]] * 11 + [[0.0, 0.0]]),
        "column 'rewards' has 1 nulls": table(rewards=[None] + [0.0] * 11),
        "no key 'rewards'": table().drop_columns(["rewards"]),
    }
    for message, content in cases.items():
        pq.write_table(content, path)
        with pytest.raises(ValueError, match=f"bad.parquet: {message}"):
            parquet.read(path, "x", "file", "Pendulum-v1")
    path.write_text("text")
    with pytest.raises(ValueError, match=r"bad.parquet: cannot be read as Parquet"):
        parquet.read(path, "x", "file", "Pendulum-v1")

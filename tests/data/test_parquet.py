from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from recordings import CARD, pendulum

from dwm_ray.data import parquet
from dwm_ray.data.checks import Arrays, episodes_from
from dwm_ray.data.export import write_parquet


@pytest.mark.parametrize("following", [{}, {"next_observations": pendulum()["observations"] + 1}])
def test_written_file_reads_back(tmp_path: Path, following: Arrays) -> None:
    data = episodes_from({**pendulum(), **following}, CARD)
    path = tmp_path / "x.parquet"
    write_parquet(data, path)
    back = parquet.read(path, "x", "file", None)
    assert back.card.env_id == "Pendulum-v1"
    np.testing.assert_array_equal(back.known_next, data.known_next)
    np.testing.assert_array_equal(back.next_obs[back.known_next], data.next_obs[data.known_next])
    for name in ("obs", "act", "rew", "terminated", "truncated"):
        np.testing.assert_array_equal(getattr(back, name), getattr(data, name))
    with pytest.raises(ValueError, match=r"x.parquet: exists already"):
        write_parquet(data, path)


def table(**columns: list[object]) -> pa.Table:
    plain = {key: value.tolist() for key, value in pendulum().items()}
    return pa.table({**plain, **columns})


def test_plain_lists_of_other_writers_are_read(tmp_path: Path) -> None:
    pq.write_table(table(), tmp_path / "plain.parquet")
    data = parquet.read(tmp_path / "plain.parquet", "x", "file", "Pendulum-v1")
    np.testing.assert_array_equal(data.obs, pendulum()["observations"])


def test_faults_are_named(tmp_path: Path) -> None:
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
    with pytest.raises(ValueError, match=r"bad.parquet: does not name its environment"):
        parquet.read(path, "x", "file", None)
    path.write_text("text")
    with pytest.raises(ValueError, match=r"bad.parquet: cannot be read as Parquet"):
        parquet.read(path, "x", "file", "Pendulum-v1")

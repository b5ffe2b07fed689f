from pathlib import Path

import h5py
import numpy as np
import pytest
from recordings import CARD, pendulum, write

from dwm_ray.data import d4rl
from dwm_ray.data.bundled import make
from dwm_ray.data.checks import Arrays, episodes_from
from dwm_ray.data.export import write_hdf5


@pytest.mark.parametrize("following", [{}, {"next_observations": pendulum()["observations"] + 1}])
def test_hdf5_reads_back(tmp_path: Path, following: Arrays) -> None:
    data = episodes_from({**pendulum(), **following}, CARD)
    path = tmp_path / "x.hdf5"
    write_hdf5(data, path, {"seed": 3})
    back = d4rl.read(path, "x", "file", None)
    assert back.card.fingerprint == data.card.fingerprint
    assert back.card.env_id == "Pendulum-v1"
    with h5py.File(path) as file:
        assert file.attrs["seed"] == 3
        assert ("next_observations" in file) == bool(following)
    with pytest.raises(ValueError, match=r"x.hdf5: exists already"):
        write_hdf5(data, path)


def test_thinning_keeps_every_fourth_episode_and_the_attributes(tmp_path: Path) -> None:
    content = pendulum()
    content["timeouts"][:] = True
    source = write(tmp_path / "full.hdf5", content, env_id="Pendulum-v1", agent="someone")
    target = make.thin(source, tmp_path)
    data = d4rl.read(target, "x", "file", None)
    np.testing.assert_array_equal(data.obs, content["observations"][[0, 4, 8]])
    with h5py.File(target) as file:
        assert file.attrs["agent"] == "someone"
        assert file.attrs["transitions"] == 3
        assert "(0, 4, 8, ...) of the 12" in file.attrs["selection"]

from pathlib import Path

import numpy as np
import pytest
from recordings import pendulum, write

from dwm_ray.data import d4rl


def ant(contacts: float, width: int = 111) -> dict[str, np.ndarray]:
    content = {key: value for key, value in pendulum().items() if key != "actions"}
    content["observations"] = np.zeros((12, width), dtype=np.float32)
    content["observations"][:, 27:] = contacts
    return {**content, "actions": np.zeros((12, 8), dtype=np.float32)}


def test_file_names_its_environment(tmp_path: Path) -> None:
    path = write(tmp_path / "mine.hdf5", pendulum(), env_id="Pendulum-v1")
    data = d4rl.read(path, "mine", "file", None)
    assert (data.card.name, data.card.source, data.card.env_id) == ("mine", "file", "Pendulum-v1")
    assert data.card.path == str(path)


def test_environment_comes_from_the_option_or_d4rls_name(tmp_path: Path) -> None:
    assert d4rl.environment_of(Path("x.hdf5"), None, "Pendulum-v1") == "Pendulum-v1"
    assert d4rl.environment_of(Path("hopper_medium_replay-v2.hdf5"), None, None) == "Hopper-v4"
    with pytest.raises(ValueError, match=r"hopper.hdf5: does not name its environment; expected data.env"):
        d4rl.environment_of(Path("hopper.hdf5"), None, None)
    with pytest.raises(ValueError, match=r"was recorded in Hopper-v5, but data.env is Hopper-v4"):
        d4rl.environment_of(Path("x.hdf5"), "Hopper-v5", "Hopper-v4")


def test_next_observations_of_the_file_are_known(tmp_path: Path) -> None:
    content = {**pendulum(), "next_observations": pendulum()["observations"] + 1}
    data = d4rl.read(write(tmp_path / "a.hdf5", content), "a", "file", "Pendulum-v1")
    assert data.known_next.all()
    np.testing.assert_array_equal(data.next_obs, data.obs + 1)


def test_ant_without_contact_forces_is_read_as_ant_v4(tmp_path: Path) -> None:
    dead = write(tmp_path / "ant_medium-v2.hdf5", ant(contacts=0.0))
    assert d4rl.read(dead, "ant-medium", "D4RL v2", None).obs.shape == (12, 27)
    alive = write(tmp_path / "ant_expert-v2.hdf5", ant(contacts=1.0))
    with pytest.raises(ValueError, match=r"\(12, 111\); expected \(12, 27\)"):
        d4rl.read(alive, "ant-expert", "D4RL v2", None)


def test_unreadable_files_are_named(tmp_path: Path) -> None:
    whole = write(tmp_path / "whole.hdf5", {**pendulum(), "padding": np.zeros(5000)}, env_id="Pendulum-v1")
    cut = tmp_path / "cut.hdf5"
    cut.write_bytes(whole.read_bytes()[:6000])
    foreign = tmp_path / "foreign.hdf5"
    foreign.write_text("not HDF5")
    for path in (cut, foreign):
        with pytest.raises(ValueError, match=f"{path.name}: cannot be read as HDF5"):
            d4rl.read(path, "x", "file", None)
    with pytest.raises(ValueError, match=r"gone.hdf5: no such file"):
        d4rl.read(tmp_path / "gone.hdf5", "x", "file", None)
    other = write(tmp_path / "other.hdf5", {"data": np.zeros(3)}, env_id="Pendulum-v1")
    with pytest.raises(ValueError, match=r"other.hdf5: no key 'observations'"):
        d4rl.read(other, "x", "file", None)


def test_find_looks_in_d4rls_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("D4RL_DATASET_DIR", str(tmp_path))
    assert d4rl.find("hopper-medium-replay") is None
    path = write(tmp_path / "hopper_medium_replay-v2.hdf5", {})
    assert d4rl.find("hopper-medium-replay") == path
    monkeypatch.delenv("D4RL_DATASET_DIR")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert d4rl.folder() == tmp_path / ".d4rl" / "datasets"

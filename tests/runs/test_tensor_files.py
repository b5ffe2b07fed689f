"""Checkpoints: exact, written atomically, never unpickled."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dwm_ray.runs import tensor_files

TENSORS = {
    "weights": torch.randn(3, 4),
    "half": torch.randn(5).bfloat16(),
    "count": torch.tensor(7),
    "flags": torch.tensor([True, False]),
    "bytes": torch.Generator().manual_seed(1).get_state(),
    "transposed": torch.arange(6.0).reshape(2, 3).T,
    "empty": torch.zeros(0, 3),
}


def test_round_trip_keeps_values_types_and_meta(tmp_path: Path) -> None:
    tensor_files.save(tmp_path / "new" / "folder", "trainer", TENSORS, {"seconds": 1.5, "names": ["a"]})
    loaded, meta = tensor_files.load(tmp_path / "new" / "folder", "trainer")
    assert meta == {"seconds": 1.5, "names": ["a"]}
    assert loaded.keys() == TENSORS.keys()
    for name, value in TENSORS.items():
        assert loaded[name].dtype == value.dtype
        assert torch.equal(loaded[name], value), name


def test_tensors_that_share_memory_are_saved_separately(tmp_path: Path) -> None:
    base = torch.arange(4.0)
    tensor_files.save(tmp_path, "shared", {"all": base, "part": base[1:3], "again": base}, {})
    loaded, _ = tensor_files.load(tmp_path, "shared")
    assert loaded["part"].tolist() == [1.0, 2.0]
    assert torch.equal(loaded["all"], loaded["again"])


def test_an_interrupted_save_leaves_the_last_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tensor_files.save(tmp_path, "trainer", {"x": torch.ones(2)}, {"update": 1})

    def full_disk(tensors: dict[str, torch.Tensor], path: Path) -> None:
        path.write_bytes(b"half")
        raise OSError("No space left on device")

    monkeypatch.setattr(tensor_files, "save_file", full_disk)
    with pytest.raises(OSError, match="No space left"):
        tensor_files.save(tmp_path, "trainer", {"x": torch.zeros(2)}, {"update": 2})
    loaded, meta = tensor_files.load(tmp_path, "trainer")
    assert (loaded["x"].tolist(), meta) == ([1.0, 1.0], {"update": 1})


@pytest.mark.parametrize("broken", ["trainer.safetensors", "trainer.json"])
def test_a_broken_or_absent_checkpoint_is_named(tmp_path: Path, broken: str) -> None:
    with pytest.raises(ValueError, match=r"no readable checkpoint 'trainer' there"):
        tensor_files.load(tmp_path, "trainer")
    tensor_files.save(tmp_path, "trainer", TENSORS, {})
    content = (tmp_path / broken).read_bytes()
    (tmp_path / broken).write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match=str(tmp_path)):
        tensor_files.load(tmp_path, "trainer")


def test_a_pickle_is_not_opened(tmp_path: Path) -> None:
    tensor_files.save(tmp_path, "trainer", TENSORS, {})
    torch.save(TENSORS, tmp_path / "trainer.safetensors")
    with pytest.raises(ValueError, match="no readable checkpoint"):
        tensor_files.load(tmp_path, "trainer")


def test_write_json_replaces_whole_files(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b.json"
    tensor_files.write_json(path, {"x": [1, None]})
    tensor_files.write_json(path, {"x": 2})
    assert json.loads(path.read_text()) == {"x": 2}
    with pytest.raises(TypeError):
        tensor_files.write_json(path, {"x": torch})
    assert json.loads(path.read_text()) == {"x": 2}
    assert [entry.name for entry in path.parent.iterdir()] == ["b.json"]


@given(st.dictionaries(st.text("ab.", max_size=4), st.integers(0, 9), max_size=5))
def test_prefixes_come_off_again(numbers: dict[str, int]) -> None:
    tensors = {key: torch.tensor(value) for key, value in numbers.items()}
    both = {**tensor_files.prefixed("agent", tensors), **tensor_files.prefixed("agents", tensors)}
    assert len(both) == 2 * len(tensors)
    assert tensor_files.unprefixed("agent", both) == tensors

"""Programs in unusual surroundings: closed or ASCII outputs, foreign folders, other working folders, refusals."""

import io
import subprocess
import sys
from pathlib import Path

import pytest
from tiny_task import recording

from dwm_ray.cli.command_line import absolute, main_guard, parse
from dwm_ray.data.load import load_dataset
from dwm_ray.local.executor import LocalExecutor
from dwm_ray.options import Frozen
from dwm_ray.runs.folder import RunFolder, set_status
from pipelines import compare, train

ROOT = Path(__file__).parents[2]


def test_characters_that_the_output_lacks_are_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="ascii"))
    assert main_guard(lambda: print("1.0 ± 0.1"))() == 0
    assert raw.getvalue() == b"1.0 ? 0.1\n"


def test_a_program_runs_with_all_outputs_closed() -> None:
    args = f"{sys.executable} pipelines/methods.py --markdown --tables agents"
    for closed in (">&- 2>&-", "<&- >&- 2>&-"):
        assert subprocess.run(f"{args} {closed}", shell=True, cwd=ROOT, check=False).returncode == 0


def test_an_output_that_its_reader_closes_ends_the_program_with_141() -> None:
    @main_guard
    def main() -> None:
        try:
            raise BrokenPipeError
        except BrokenPipeError:
            raise SystemExit(1)  # noqa: B904 - as rich does

    assert main() == 141


def test_a_place_that_the_user_may_not_read_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def deny(path: Path) -> bool:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "exists", deny)
    monkeypatch.setattr(Path, "is_file", deny)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("D4RL_DATASET_DIR", raising=False)
    with pytest.raises(ValueError, match=r"x\.hdf5.*: Permission denied; expected .* you may read"):
        load_dataset(str(tmp_path / "x.hdf5"))


def test_a_user_without_a_home_folder_loads_bundled_data(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", no_home)
    monkeypatch.delenv("D4RL_DATASET_DIR", raising=False)
    assert load_dataset("halfcheetah-medium-replay").num_episodes == 50


def test_data_files_mean_the_same_in_every_working_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    config = parse(Frozen, ["--data", "mine.hdf5", "--world-model", "none"], "")[1]
    assert config.data.file == str(tmp_path / "mine.hdf5")
    monkeypatch.setenv("HOME", "/home/me")
    assert absolute("~/mine.hdf5") == "/home/me/mine.hdf5"
    with pytest.raises(ValueError, match=r"--data\.file ~nobody-of-this-name/x: "):
        absolute("~nobody-of-this-name/x")


@pytest.mark.parametrize("begun", [False, True])
def test_a_refused_run_leaves_no_folder_unless_its_work_has_begun(
    begun: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: LocalExecutor, *args: object) -> None:
        if begun:
            [run] = (tmp_path / "runs").iterdir()
            set_status(RunFolder(run).trials()[0], "running")
        raise ValueError("no room")

    monkeypatch.setattr(LocalExecutor, "run_one", refuse)
    words = ["--task", "pendulum", "--data", str(recording(tmp_path / "pendulum.hdf5"))]
    assert train.main([*words, "--output", str(tmp_path / "runs"), "--in-process"]) == 2
    assert len(list((tmp_path / "runs").iterdir())) == int(begun)


def test_a_comparison_with_a_refused_task_leaves_no_folder(tmp_path: Path) -> None:
    file = recording(tmp_path / "pendulum.hdf5")
    tasks = ["--tasks", f"first={file}", f"second={tmp_path / 'absent.hdf5'}"]
    assert compare.main([*tasks, "--methods", "td3bc", "bc", "--output", str(tmp_path / "runs"), "--in-process"]) == 2
    assert list((tmp_path / "runs").iterdir()) == []

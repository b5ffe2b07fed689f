"""What a user gets wrong: exit code 2, one line that names it, and nothing left behind. No Ray is started."""

import errno
import importlib
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import pytest
from local_runs import train
from tiny_task import tiny_config

from dwm_ray.cli.command_line import main_guard
from dwm_ray.runs.folder import RunFolder

Main = Callable[[list[str]], int]


def main_of(pipeline: str) -> Main:
    main: Main = importlib.import_module(f"pipelines.{pipeline}").main
    return main


@pytest.fixture(autouse=True)
def _no_ray(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise AssertionError("bad input must be found before Ray starts")

    monkeypatch.setattr("ray.init", refuse)
    monkeypatch.setitem(sys.modules, "wandb", None)
    monkeypatch.setenv("D4RL_DATASET_DIR", str(tmp_path / "no-data"))
    monkeypatch.chdir(tmp_path)


def code_of(pipeline: str, args: list[str]) -> int:
    """The exit code, whether it is returned or raised (by the parser of the command line)."""
    try:
        return main_of(pipeline)(args)
    except SystemExit as error:
        return int(error.code or 0)


def refused(pipeline: str, args: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """The line on stderr of a command that is refused before it leaves anything."""
    assert code_of(pipeline, args) == 2
    assert not Path("runs").exists()
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1, lines
    assert lines[0].startswith("error: ")
    return lines[0]


@pytest.mark.parametrize("pipeline", ["train", "sweep"])
@pytest.mark.parametrize(
    ("args", "message"),
    [
        (
            "--task halfcheetah-medium-repla",
            "--task: unknown task 'halfcheetah-medium-repla'; did you mean halfcheetah",
        ),
        ("--task walker2d-expert", "--task walker2d-expert: no data on this machine"),
        ("--task x --data absent.hdf5 --env Pendulum-v1", "absent.hdf5: no such file"),
        ("--task x --data absent.csv", "unknown suffix '.csv'; expected .hdf5, .h5, .parquet"),
        ("--data.env-kwargs [1]", "data.env_kwargs: [1] is not a JSON object; expected one such as"),
        ("--task= --data absent.hdf5", "task: string should have at least 1 character"),
        ("--agent td3_cb", "unknown agent 'td3_cb'; did you mean td3_bc?"),
        ("--world-model dmw", "unknown world model 'dmw'; did you mean dwm"),
        ("--filter hard_max", "unknown filter 'hard_max'; did you mean hardmax?"),
        ("--profile labtop", "'labtop' is not a profile; expected one of auto, paper, published, laptop"),
        (
            "--synthesis.horizon 16",
            "synthesis.horizon: 16 is too long for world_model.sequence_length 16",
        ),
        ("--replay.real-ratio 1.5", "replay.real_ratio"),
        ("--replay.real-ratio nan", "replay.real_ratio"),
        ("--filter hardmax --filter.keep-ratio 0", "filter.keep_ratio"),
        ("--data.holdout-ratio 1", "data.holdout_ratio"),
        ("--training.num-updates 0", "training.num_updates"),
        (
            "--world-model.process ddpm --world-model.solver-steps 9",
            "solver_steps: got 9; expected at most diffusion_steps 5",
        ),
        ("--resume absent", "absent is not a run folder: it has no config.json"),
        ("--storage ftp://host/runs", "--storage ftp://...: expected s3://BUCKET/FOLDER, gs://BUCKET/FOLDER or a path"),
        ("--storage s3://KEY:SECRET@bucket/runs", "--storage: the address contains credentials"),
        ("--storage /dev/null/runs", "--storage: storage /dev/null/runs: cannot write"),
        ("--resume file:///absent/run", "/absent/run is not a run folder: it has no config.json"),
        ("--execution.wandb p", "execution.wandb: the package wandb is not installed; expected `pip install"),
        ("--agent", "--agent"),
    ],
)
def test_one_line_says_what_is_wrong(
    pipeline: str, args: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert message in refused(pipeline, args.split(), capsys)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ("--dimensions horizn", "--dimensions: unknown axis 'horizn'; did you mean horizon?"),
        ("--agents td3_bc iq", "unknown agent 'iq'; did you mean iql?"),
        ("--dimensions diffusion_steps --world-model one_step --no-baselines", "no combination of this sweep can run"),
        ("--dimensions horizon=a", "8 x synthesis.horizon: input should be a valid integer"),
        ("--seeds 0", "seeds"),
        ("--grace-share 2", "grace_share"),
    ],
)
def test_sweeps_options(args: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert message in refused("sweep", args.split(), capsys)


def test_optuna_is_optional(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    assert "--search optuna: the package optuna is not installed; expected `pip install" in refused(
        "sweep", ["--search", "optuna"], capsys
    )


@pytest.mark.parametrize("args", ["--no-such-option 1", "--training.num-updates many", "--search best"])
def test_flags_that_do_not_exist_and_values_of_another_type(args: str, capsys: pytest.CaptureFixture[str]) -> None:
    """These the parser of the command line finds itself, and says in its own words."""
    assert code_of("sweep", args.split()) == 2
    assert args.split()[0] in capsys.readouterr().err
    assert not Path("runs").exists()


@pytest.mark.parametrize("profile", ["auto", "laptop"])
def test_a_broken_installation_of_ray(
    profile: str, file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "ray.tune", None)
    args = ["--task", "pendulum", "--data", str(file), "--profile", profile]
    assert "ray: cannot be imported (ModuleNotFoundError: import of ray.tune" in refused("train", args, capsys)


def broken_copy(file: Path, change: Callable[[h5py.File], None]) -> Path:
    path = Path("broken.hdf5").resolve()
    path.write_bytes(file.read_bytes())
    with h5py.File(path, "r+") as opened:
        change(opened)
    return path


def drop_rewards(content: h5py.File) -> None:
    del content["rewards"]


def put_nan(content: h5py.File) -> None:
    content["observations"][7, 1] = float("nan")


def other_environment(content: h5py.File) -> None:
    content.attrs["env_id"] = "HalfCheetah-v5"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (drop_rewards, "rewards"),
        (put_nan, "'observations' has NaN or infinite values in 1 rows, first in row 7"),
        (other_environment, "observations"),
    ],
)
def test_recordings_that_are_wrong(
    file: Path, change: Callable[[h5py.File], None], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = broken_copy(file, change)
    line = refused("train", ["--task", "mine", "--data", str(path)], capsys)
    assert str(path) in line
    assert message in line


def test_output_that_cannot_be_written(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("taken").write_text("")
    args = ["--task", "mine", "--data", str(file), "--output", "taken"]
    assert "--output taken: cannot create a run folder there" in refused("train", args, capsys)


def test_resuming_with_other_data_than_the_run_was_started_with(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = broken_copy(file, lambda content: None)
    record = {"profile": "laptop", "run": tiny_config(path).model_dump(mode="json")}
    Path("old").mkdir()
    Path("old/config.json").write_text(json.dumps(record))
    Path("old/data.json").write_text(json.dumps({"fingerprint": "0" * 16}))
    assert "this machine holds other data" in refused("train", ["--resume", "old"], capsys)
    assert sorted(entry.name for entry in Path("old").iterdir()) == ["config.json", "data.json"]


@pytest.mark.parametrize(
    ("pipeline", "entries", "message"),
    [
        ("train", {"sweep": {}}, "expected python pipelines/sweep.py --resume"),
        ("train", {"comparison": {}}, "expected python pipelines/compare.py --resume"),
        ("sweep", {}, "expected python pipelines/train.py --resume"),
        ("sweep", {"comparison": {}}, "expected python pipelines/compare.py --resume"),
    ],
)
def test_resuming_a_run_of_another_program(
    pipeline: str, entries: dict[str, Any], message: str, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("old").mkdir()
    record = {"profile": "laptop", "run": tiny_config(file).model_dump(mode="json"), **entries}
    Path("old/config.json").write_text(json.dumps(record))
    assert message in refused(pipeline, ["--resume", "old"], capsys)
    assert [entry.name for entry in Path("old").iterdir()] == ["config.json"]


@pytest.mark.parametrize("text", ["[]", '{"task": "pendulum"}', '{"run": {'], ids=["list", "trial", "half"])
def test_resuming_a_folder_of_something_else(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("old").mkdir()
    Path("old/config.json").write_text(text)
    assert "expected the JSON that a run writes at its start" in refused("train", ["--resume", "old"], capsys)


class TestEvaluate:
    @pytest.fixture(scope="class")
    def trial(self, file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
        folder = RunFolder(tmp_path_factory.mktemp("run"))
        train(tiny_config(file, world_model=None), folder)
        folder.config.write_text("{}")
        return folder.trials()[0]

    def test_a_checkpoint_of_another_task(self, trial: Path, capsys: pytest.CaptureFixture[str]) -> None:
        line = refused("evaluate", [str(trial), "--task", "hopper-medium"], capsys)
        assert "this checkpoint is of task 'pendulum', not of --task 'hopper-medium'" in line
        assert not (trial / "reevaluation.json").exists()

    def test_no_episodes(self, trial: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert "--num-episodes: is 0; expected at least 1" in refused(
            "evaluate", [str(trial), "--num-episodes", "0"], capsys
        )

    def test_a_folder_that_is_none(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert "absent is not a run folder" in refused("evaluate", ["absent"], capsys)

    def test_a_broken_checkpoint(self, trial: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
        (tmp_path / "checkpoint").mkdir()
        for part in (trial / "checkpoint").iterdir():
            content = part.read_bytes()
            half = content[: len(content) // 2] if part.suffix == ".safetensors" else content
            (tmp_path / "checkpoint" / part.name).write_bytes(half)
        assert "no readable checkpoint 'agent' there" in refused("evaluate", [str(tmp_path)], capsys)

    def test_a_good_one_is_scored(self, trial: Path) -> None:
        """So that the refusals above are not refusals of everything."""
        assert code_of("evaluate", [str(trial.parents[1]), "--num-episodes", "1", "--task", "pendulum"]) == 0
        row = json.loads((trial / "reevaluation.json").read_text())
        assert len(row["returns"]) == 1
        assert row["score_unit"] == "raw return"


@pytest.mark.parametrize(("error", "stays"), [(errno.ENOSPC, False), (errno.ENOENT, True)])
def test_storage_that_fails_is_one_line_and_other_errors_of_files_stay_tracebacks(
    error: int, stays: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    @main_guard
    def main() -> None:
        raise OSError(error, os.strerror(error), "/mnt/runs/counters.json")

    if stays:
        with pytest.raises(OSError, match="No such file"):
            main()
    else:
        assert main() == 1
        assert (
            "failed: storage: [Errno 28] No space left on device: '/mnt/runs/counters.json'" in capsys.readouterr().err
        )

"""Create or reopen the run folder of a program, print its properties, and write its results."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import torch
from pydantic import BaseModel
from rich.console import Console

from dwm_ray.agents.base import new_agent
from dwm_ray.cli import stopping
from dwm_ray.cli.command_line import explicit_paths, parse
from dwm_ray.cli.execution import require_ray
from dwm_ray.config import RunConfig
from dwm_ray.data.environment import spaces_text
from dwm_ray.data.split import PARTS
from dwm_ray.data.summary import data_summary, summary_text
from dwm_ray.data.task_data import TaskData, load_task_data
from dwm_ray.data.windows import is_outside_range, labels_text
from dwm_ray.evaluation.evaluators import check_evaluation
from dwm_ray.options import Frozen, Profile
from dwm_ray.replay.sources import source_kind, stream_of
from dwm_ray.report.collect import collect_results
from dwm_ray.report.run_report import ranking_table, write_report
from dwm_ray.report.run_tables import estimate_table, trial_table
from dwm_ray.runs.files import locked
from dwm_ray.runs.folder import RunFailed, RunFolder, read_json
from dwm_ray.runs.storage import Storage, StorageFailed
from dwm_ray.runs.tensor_files import write_json
from dwm_ray.training.checkpoints import remove_leftovers
from dwm_ray.training.fit_world_model import correction_note
from dwm_ray.training.writers import wandb_module

Command = TypeVar("Command", bound=BaseModel)
FILE_WIDTH = 110
"""Columns of tables that are not printed to a terminal."""
WITH_RESUME = {"resume", "output", "in_process", "population", "markdown", "yes", "check_cluster"}
"""Flags that have an effect with --resume."""
PROGRAMS = {"sweep": "pipelines/sweep.py", "comparison": "pipelines/compare.py"}
"""Entry of a run's record -> the program that writes it; pipelines/train.py writes no such entry."""
OpenedRun = tuple[RunFolder, TaskData, dict[str, Any]]
"""A run, its data and its record."""


class RunCommand(Frozen):
    """Options of programs that create or resume a run."""

    output: Path = Path("runs")
    """Parent of the run folder. Without --storage, it must be visible on all nodes."""
    storage: str | None = None
    """Store the run in a folder at s3://BUCKET/FOLDER, gs://BUCKET/FOLDER or a path; --output is then the local copy.
    Credentials come from the environment or the role of the machine."""
    resume: str | None = None
    """Resume this run folder, or the run at this storage address. Finished trials are retained, and the stored options
    are used."""


def begin(
    console: Console,
    config: RunConfig,
    output: Path,
    record: dict[str, Any],
    storage: str | None = None,
    check: Callable[[TaskData], None] = lambda task_data: None,
) -> OpenedRun:
    """Check the storage, load the data and test the environment, then create a run folder with the run's record.

    If `check` rejects the run with a ValueError, no folder is created.
    """
    location = None if storage is None else checked_storage(Storage.parse(storage))
    task_data = checked_data(config)
    new_agent(config, task_data, torch.device("cpu"))  # raises ValueError for data that the agent cannot learn from
    check(task_data)
    run = RunFolder.create(output, config.task, location)
    write_json(run.config, record)
    write_json(run.root / "data.json", data_summary(task_data.episodes, task_data.task))
    run.record_environment()
    run.push_record()
    announce(console, run, task_data, record)
    return run, task_data, record


def checked_data(config: RunConfig, fingerprint: str | None = None) -> TaskData:
    """Return the data after checks of the optional packages and the environment that the run needs."""
    if config.execution.wandb is not None:
        wandb_module()
    task_data = load_task_data(config, fingerprint)
    check_evaluation(config, task_data)
    return task_data


def checked_storage(storage: Storage) -> Storage:
    """Return the storage if this machine can write, read and delete files there; otherwise raise ValueError."""
    try:
        storage.probe()
    except (StorageFailed, OSError) as error:
        raise ValueError(f"--storage: {error}") from error
    return storage


def reopen(console: Console, address: str, output: Path, kind: str | None = None) -> OpenedRun:
    """Return a run to resume, its unchanged data and its record.

    A run in remote storage is copied to `output`. `kind` is the entry of the calling program in `PROGRAMS`. Raises
    ValueError for runs of an older version or of another program.
    """
    run = RunFolder.open(address, output)
    if run.storage:
        checked_storage(run.storage)
        run.pull()
    record = read_json(run.config)
    if not isinstance(record, dict) or not {"run", "profile"} <= record.keys():
        raise ValueError(f"{run.config}: expected the JSON that a run writes at its start")
    program = next((name for name in PROGRAMS if name in record), None)
    if program != kind:
        raise ValueError(f"{run.root}: expected python {PROGRAMS.get(program or '', 'pipelines/train.py')} --resume")
    data = read_json(run.root / "data.json") or {}
    config = RunConfig.resumable(record["run"], run.config)
    task_data = checked_data(config, data.get("fingerprint"))
    remove_leftovers(run)
    announce(console, run, task_data, record)
    return run, task_data, record


def announce(console: Console, run: RunFolder, task_data: TaskData, record: dict[str, Any]) -> None:
    """Print the data, the profile and the folder of a run."""
    console.print(summary_text(data_summary(task_data.episodes, task_data.task)))
    if task_data.task.env_id is None:
        config = RunConfig.stored(record["run"], run.config)
        cut = f"; the only episode is split into {PARTS} parts for them" if task_data.episodes.num_episodes == 1 else ""
        console.print(
            f"no environment: {spaces_text(task_data.episodes.spaces, config.data)}; scores are off-policy estimates, "
            f"each with at most {config.evaluation.estimate_updates} critic updates{cut}",
            soft_wrap=True,
        )
    if task_data.has_unexplained_terminations:
        console.print(
            f"{task_data.task.env_id or 'no environment'}: the data contain terminations, but no termination rule is "
            "known; imagined episodes end only if the world model predicts terminations (option "
            "world_model.continuation)"
        )
    console.print(f"profile: {record['profile']}; run folder: {run.root}", soft_wrap=True)
    if run.storage:
        console.print(f"storage: {run.address}", soft_wrap=True)


def announce_synthesis(console: Console, task_data: TaskData, configs: Sequence[RunConfig]) -> None:
    """Print the return-to-go that segments are conditioned on, and warnings about the use of the data."""
    _announce_targets(console, task_data, configs)
    for note in sorted({note for config in configs if (note := correction_note(config, task_data))}):
        console.print(note, style="yellow")
    _announce_coverage(console, task_data, configs)


def _announce_targets(console: Console, task_data: TaskData, configs: Iterable[RunConfig]) -> None:
    """Print the range of the return-to-go labels that world models use, and targets outside this range."""
    by_labels: dict[str, set[float | str]] = {}
    for config in configs:
        model, target = config.world_model, config.synthesis.target_rtg
        if model is not None and model.plugin.uses_rtg:
            labels = task_data.start_labels(config.training.discount, model)
            targets = by_labels.setdefault(labels_text(labels, task_data.task.rtg_scale), set())
            targets |= {target} if is_outside_range(target, labels) else set()
    for labels_line, targets in by_labels.items():
        console.print(labels_line)
        if targets:
            listed = ", ".join(map(str, sorted(targets, key=str)))
            console.print(f"synthesis.target_rtg {listed}: outside the range of these labels", style="yellow")


def _announce_coverage(console: Console, task_data: TaskData, configs: Iterable[RunConfig]) -> None:
    """Print the fraction of start pairs that a stream uses if it is shorter than the data."""
    num_pairs = task_data.identity.num_pairs
    lengths = {stream_of(config, task_data).num_segments for config in configs if source_kind(config) == "stream"}
    for length in sorted(length for length in lengths if length < num_pairs):
        console.print(
            f"synthesis.num_segments {length}: imagined segments start from {100 * length / num_pairs:.0f} % of the "
            f"{num_pairs} recorded pairs",
            style="yellow",
        )


def options(command: type[Command], argv: Sequence[str], description: str) -> tuple[Command, RunConfig, Profile]:
    """Parse a program's command line; `--profile auto` depends on the GPUs of the cluster to join.

    Raises ValueError if the command needs Ray and Ray cannot be imported, or if RAY_ADDRESS names a cluster that does
    not answer.
    """
    flags = {arg.partition("=")[0] for arg in argv}
    if {"--in-process", "--resume", "--help", "-h"} & flags:
        parsed = parse(command, argv, description)
        if "--resume" in flags and (ignored := explicit_paths(argv) - WITH_RESUME):
            names = ", ".join(f"--{path.replace('_', '-')}" for path in sorted(ignored))
            print(f"{names}: ignored, because a resumed run keeps its options")
        return parsed
    require_ray()
    from dwm_ray.distributed.cluster import connection  # Ray is optional for everything else

    connection.check_answer()
    return parse(command, argv, description, connection.cluster_has_gpus)


@contextmanager
def resumable(run: RunFolder, command: str, new: bool = False) -> Iterator[None]:
    """Print how to resume if the program is stopped or fails, and remove a `new` run that is rejected.

    Raises ValueError if another program runs in the folder.
    """
    line = f"resume with: python {command} --resume {run.address}"
    with locked(run.root), stopping.hint(line):
        try:
            yield
        except RunFailed as error:
            raise RunFailed(f"{error}; {line}") from error
        except ValueError:
            if new and not run.has_begun:
                run.discard()
            raise


def conclude(console: Console, run: RunFolder, wall_s: float) -> dict[str, Any]:
    """Write `results.json` and `report.html`; print the tables, the failures and, in the last line, the run folder."""
    run.pull()
    record = read_json(run.sweep) or {}
    write_json(run.sweep, {**record, "wall_s": record.get("wall_s", 0.0) + wall_s})
    results = collect_results(run.root)
    write_json(run.root / "results.json", results)
    show_results(console, results)
    write_report(run.root)
    run.push_record()
    for trial in results["trials"]:
        if trial["status"] == "failed":
            console.print(f"trial {trial['id']} failed: {trial['error']}", style="red", soft_wrap=True)
    console.print(f"report: {run.root / 'report.html'}", soft_wrap=True)
    if run.storage:
        console.print(f"storage: {run.address}", soft_wrap=True)
    console.print(str(run.root), soft_wrap=True)
    return results


def show_results(console: Console, results: dict[str, Any]) -> None:
    """Print the table of trials, their off-policy estimates if any, and the ranking of several methods."""
    tables = [trial_table(results)]
    if (estimates := estimate_table(results)) is not None:
        tables.append(estimates)
    if len({trial["method"] for trial in results["trials"]}) > 1:
        tables.append(ranking_table(results))
    if not console.is_terminal:
        console.width = max(console.width, FILE_WIDTH)
    for table in tables:
        console.print(table.terminal())

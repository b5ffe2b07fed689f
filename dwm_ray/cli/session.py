"""What the pipelines share on Ray: begin or reopen a run folder, start the plant, keep counters, write the results."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import torch
from pydantic import BaseModel
from rich.console import Console

from dwm_ray.agents.parts.build import new_agent
from dwm_ray.cli.command_line import parse
from dwm_ray.config import RunConfig
from dwm_ray.data.summary import data_summary, summary_text
from dwm_ray.data.task_data import TaskData, load_task_data
from dwm_ray.distributed.cluster.connection import cluster_has_gpus, connect
from dwm_ray.distributed.cluster.leftovers import cleanup_on_interrupt, free_leftovers
from dwm_ray.distributed.cluster.provision import provisioned
from dwm_ray.distributed.cluster.resources import Placement
from dwm_ray.distributed.tune.trial import ClusterServices
from dwm_ray.experiment.profiles import Profile
from dwm_ray.report.collect import collect_results
from dwm_ray.report.run_report import write_report
from dwm_ray.report.run_tables import trial_table
from dwm_ray.runs.folder import RunFolder, read_json
from dwm_ray.runs.storage import Storage, StorageFailed
from dwm_ray.runs.tensor_files import write_json

Command = TypeVar("Command", bound=BaseModel)


def begin(
    console: Console, config: RunConfig, output: Path, record: dict[str, Any], storage: str | None = None
) -> tuple[RunFolder, TaskData]:
    """Look at the storage, load the data - before anything is written - and make a new run folder that says what will
    be done."""
    kept = None if storage is None else checked_storage(Storage.parse(storage))
    task_data = load_task_data(config)
    new_agent(config, task_data, torch.device("cpu"))  # refuses data that it cannot learn from
    run = RunFolder.create(output, config.task, kept)
    write_json(run.config, record)
    write_json(run.root / "data.json", data_summary(task_data.episodes, task_data.task))
    run.record_environment()
    run.push_record()
    announce(console, run, task_data, record)
    return run, task_data


def checked_storage(storage: Storage) -> Storage:
    """A storage that can be written, read and cleaned up from here. ValueError where it cannot."""
    try:
        storage.probe()
    except (StorageFailed, OSError) as error:
        raise ValueError(f"--storage: {error}") from error
    return storage


def reopen(console: Console, where: str, output: Path) -> tuple[RunFolder, TaskData, dict[str, Any]]:
    """A run to go on with, its data checked against what it was started with, and its record. One in a storage is
    mirrored in `output`."""
    run = RunFolder.open(where, output)
    if run.storage:
        checked_storage(run.storage)
        run.pull()
    record = read_json(run.config)
    if record is None:
        raise ValueError(f"{run.config}: expected the JSON that a run writes at its start")
    seen = read_json(run.root / "data.json") or {}
    task_data = load_task_data(RunConfig.stored(record["run"], run.config), seen.get("fingerprint"))
    announce(console, run, task_data, record)
    return run, task_data, record


def announce(console: Console, run: RunFolder, task_data: TaskData, record: dict[str, Any]) -> None:
    """Say what data, profile and folder are used."""
    console.print(summary_text(data_summary(task_data.episodes, task_data.task)), highlight=False)
    if task_data.has_unexplained_terminations:
        console.print(
            f"{task_data.task.env_id}: the data have terminations and no rule for them is known; imagined episodes end "
            "where the world model has learned it (option world_model.continuation), else never",
            highlight=False,
        )
    console.print(f"profile: {record['profile']}; run folder: {run.root}", highlight=False, soft_wrap=True)
    if run.storage:
        console.print(f"storage: {run.address}", highlight=False, soft_wrap=True)


def options(command: type[Command], words: Sequence[str], description: str) -> tuple[Command, RunConfig, Profile]:
    """Parse a program's command line; `--profile auto` goes by the GPUs of the cluster that the program will join."""
    flags = {word.partition("=")[0] for word in words}
    alone = {"--in-process", "--resume", "--help", "-h"} & flags
    return parse(command, words, description, lambda: not alone and cluster_has_gpus())


@contextmanager
def divided(console: Console, config: RunConfig) -> Iterator[Placement]:
    """Join or start the cluster, wait for its nodes, and say what there is; nodes that were asked for are given back
    afterwards."""
    dashboard = connect()
    if "RAY_ADDRESS" in os.environ and (freed := free_leftovers()):
        console.print(f"freed {freed} placement groups that ended programs had left in the cluster", highlight=False)
    tell = partial(console.print, highlight=False, soft_wrap=True)
    with cleanup_on_interrupt(), provisioned(config.cluster, tell) as placement:
        console.print(f"cluster: {placement.describe()}; {dashboard}", highlight=False, soft_wrap=True)
        yield placement


@contextmanager
def started(console: Console, config: RunConfig, run: RunFolder, task_data: TaskData) -> Iterator[ClusterServices]:
    """The plant on a divided cluster: buffer, samplers and claims."""
    with divided(console, config) as placement:
        yield ClusterServices.build(config, run, task_data.identity, placement)


@contextmanager
def resumable(console: Console, run: RunFolder, command: str) -> Iterator[None]:
    """Say how to go on when the work is stopped by Ctrl-C; what was running goes on from its last checkpoint."""
    try:
        yield
    except KeyboardInterrupt:
        console.print(
            f"\nstopped; go on with: python {command} --resume {run.address}", highlight=False, soft_wrap=True
        )
        raise


def conclude(console: Console, run: RunFolder, wall_s: float) -> dict[str, Any]:
    """Write `results.json` and `report.html`, print the table, why trials failed and, last, the run folder."""
    run.pull()
    record = read_json(run.sweep) or {}
    write_json(run.sweep, {**record, "wall_s": record.get("wall_s", 0.0) + wall_s})
    results = collect_results(run.root)
    write_json(run.root / "results.json", results)
    write_report(run.root)
    run.push_record()
    console.print(trial_table(results).terminal())
    for trial in results["trials"]:
        if trial["status"] == "failed":
            console.print(f"trial {trial['id']} failed: {trial['error']}", style="red", highlight=False, soft_wrap=True)
    console.print(f"report: {run.root / 'report.html'}", highlight=False, soft_wrap=True)
    if run.storage:
        console.print(f"storage: {run.address}", highlight=False, soft_wrap=True)
    console.print(str(run.root), highlight=False, soft_wrap=True)
    return results


def stopwatch() -> Callable[[], float]:
    """Seconds since the call."""
    started = time.perf_counter()
    return lambda: time.perf_counter() - started

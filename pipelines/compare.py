"""Compare methods in one command: equal data, updates and evaluation, several seeds and tasks.

All runs share world models and streams where possible. Results are written to a new folder below --output:
comparison.json, comparison.html and, as in every sweep, results.json, report.html and a folder per trial (with several
tasks, one such run folder per task). --resume DIR resumes a comparison. --population N trains up to N runs of an agent
in one learner. --in-process runs everything in one process, without Ray.
"""

from dwm_ray.cli import stopping

if __name__ == "__main__":
    stopping.catch_signals()  # before the imports that take seconds

import os
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console

from dwm_ray.cli import session
from dwm_ray.cli.command_line import absolute, explicit_paths, main_guard
from dwm_ray.cli.execution import executor
from dwm_ray.config import RunConfig
from dwm_ray.data.task_data import TaskData
from dwm_ray.experiment.comparison import (
    ComparisonConfig,
    Entry,
    describe_entries,
    make_comparison,
    method_names,
    trials_of,
)
from dwm_ray.experiment.grouping import PopulationOptions, population_note
from dwm_ray.experiment.profiles import MAX_MEMBERS, name_of, resolve, with_method
from dwm_ray.experiment.search_space import unfinished
from dwm_ray.options import Profile
from dwm_ray.report.comparison import METHODS, open_comparison, run_folders
from dwm_ray.report.comparison_report import all_tables, failures, markdown, write_comparison
from dwm_ray.runs.clock import Clock
from dwm_ray.runs.folder import RunFolder, read_json
from dwm_ray.runs.storage import Storage
from dwm_ray.runs.tensor_files import write_json


class Command(ComparisonConfig, PopulationOptions, session.RunCommand):
    """Options of the comparison itself."""

    tasks: tuple[str, ...] = ()
    """Tasks, each TASK or TASK=FILE with its data; default: --task."""
    markdown: bool = False
    """Print the tables as Markdown."""


@main_guard
def main(argv: list[str] | None = None) -> int:
    console, clock = Console(highlight=False), Clock()
    argv = sys.argv[1:] if argv is None else argv
    methods = textwrap.fill(", ".join(method_names()), 100, subsequent_indent="  ", break_on_hyphens=False)
    command, config, profile = session.options(Command, argv, f"{__doc__}\nMethods: {methods}")
    opened = None
    if command.resume is None:
        root, opened = begin(console, command, config, profile, sorted(explicit_paths(argv)))
    else:
        root = open_comparison(command.resume, command.output)
    runs = run_folders(root)
    if runs == [root]:
        new = opened is not None
        opened = opened or session.reopen(console, str(root), root.parent, "comparison")
        execute(console, opened, clock, command, new)
    else:
        with session.resumable(RunFolder.of_path(root), "pipelines/compare.py", new=command.resume is None):
            for run in runs:
                execute_in_subprocess(run, command)
    comparison = write_comparison(root)
    RunFolder.of_path(root).push_record()
    show(console, comparison, command.markdown)
    console.print(f"comparison: {root / 'comparison.html'}\n{root}", soft_wrap=True)
    return 1 if failures(comparison) else 0


def begin(
    console: Console, command: Command, config: RunConfig, profile: Profile, explicit: list[str]
) -> tuple[Path, session.OpenedRun | None]:
    """Create the comparison's folder with one run folder per task; return the opened run of a single task."""
    options = ComparisonConfig(methods=command.methods, seeds=command.seeds)
    configs = tasks_of(command.tasks, config, profile, explicit)
    plans = [make_comparison(options, task_config, profile, explicit) for task_config in configs]
    with folder_of(command, len(configs)) as (output, storage):
        for task_config, entries in zip(configs, plans, strict=True):
            record = {
                "profile": profile,
                "population": command.population or MAX_MEMBERS[profile],
                "comparison": options.model_dump(mode="json"),
                "run": task_config.model_dump(mode="json"),
                "given": explicit,
            }
            opened = run, task_data, _ = session.begin(console, task_config, output, record, storage)
            with run.writing(run.root / METHODS):
                write_json(run.root / METHODS, describe_entries(entries, task_data.identity))
    return (run.root, opened) if len(configs) == 1 else (output, None)


@contextmanager
def folder_of(command: Command, num_tasks: int) -> Iterator[tuple[Path, str | None]]:
    """Yield the parent of the run folders and its address in the storage: a new folder if there are several tasks.

    The new folder is removed if a task is rejected.
    """
    if num_tasks == 1:
        yield command.output, command.storage
        return
    storage = None if command.storage is None else session.checked_storage(Storage.parse(command.storage))
    folder = RunFolder.create(command.output, "comparison", storage)
    try:
        yield folder.root, folder.storage.address if folder.storage else None
    except ValueError:
        folder.discard()
        raise


def tasks_of(tasks: tuple[str, ...], config: RunConfig, profile: Profile, explicit: list[str]) -> list[RunConfig]:
    """Return the configuration of each task."""
    if tasks and config.data.file is not None:
        raise ValueError("--data.file: set together with --tasks; expected --tasks TASK=FILE ...")
    if len({task.partition("=")[0] for task in tasks}) < len(tasks):
        raise ValueError(f"--tasks {' '.join(tasks)}: a task is named twice; expected different tasks")
    pairs = [task.partition("=") for task in tasks] or [(config.task, "", config.data.file or "")]
    method = name_of(config.world_model), config.agent.plugin_name()
    return [
        with_method(config, profile, *method, explicit, name).with_values({"data.file": absolute(file)})
        for name, _, file in pairs
    ]


def execute(console: Console, opened: session.OpenedRun, clock: Clock, command: PopulationOptions, new: bool) -> None:
    """Run the unfinished trials of one task, on Ray or in this process."""
    run, task_data, record = opened
    config, profile = RunConfig.model_validate(record["run"]), resolve(record["profile"])
    options = ComparisonConfig.model_validate(record["comparison"])
    entries = make_comparison(options, config, profile, record.get("given", []))
    check_unchanged(run, entries, task_data)
    trials = trials_of(entries)
    max_members = command.population or record.get("population", 1)
    with session.resumable(run, "pipelines/compare.py", new):
        remaining = unfinished(trials, run)
        numbers = f"{len(entries)} methods, {len(trials)} trials, {len(remaining)} to run{population_note(max_members)}"
        console.print(numbers)
        session.announce_synthesis(console, task_data, [trial.config for trial in trials])
        if remaining:
            with executor(console, config, run, task_data, len(trials), command.in_process) as runner:
                runner.run(remaining, max_members)
        session.conclude(console, run, clock.seconds)


def execute_in_subprocess(root: Path, command: PopulationOptions) -> None:
    """Run one of several tasks in a separate process and cluster; the run folder records failed trials."""
    args = ["--resume", str(root), *(["--in-process"] if command.in_process else [])]
    args += [f"--population={command.population}"] if command.population else []
    task = subprocess.Popen([sys.executable, __file__, *args], env={**os.environ, stopping.SILENT: "1"})
    try:
        task.wait()
    except KeyboardInterrupt:
        task.send_signal(stopping.received())  # a terminal has already sent it; a second signal has no effect
        task.wait()
        raise
    if task.returncode == 2:
        raise ValueError(f"{root.name}: rejected, see the line above; expected a task that can run")


def check_unchanged(run: RunFolder, entries: list[Entry], task_data: TaskData) -> None:
    """Raise ValueError if this version of the code would run trials that differ from the stored ones."""
    stored, now = read_json(run.root / METHODS), describe_entries(entries, task_data.identity)
    if stored is None:
        raise ValueError(f"{run.root / METHODS}: expected the JSON that a comparison writes at its start")
    if [method["trials"] for method in stored] != [method["trials"] for method in now]:
        raise ValueError(f"{run.root}: the defaults of its methods have changed; expected a new comparison")


def show(console: Console, comparison: dict[str, Any], as_markdown: bool) -> None:
    """Print the tables and the runs without a score."""
    if as_markdown:
        print(markdown(comparison))
        return
    for table in all_tables(comparison):
        console.print(table.terminal())
    for line in failures(comparison):
        console.print(line, style="red")


if __name__ == "__main__":
    sys.exit(main())

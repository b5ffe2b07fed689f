"""Answer a question about world models: tables, figures, JSON and a page.

    python pipelines/study.py NAME --task TASK [options]

World models are trained in this process and stored below --output, where other studies can reuse them. --run RUN uses
the world models of a run instead. NAME --help shows the options of a study.
"""

from dwm_ray.cli import stopping

if __name__ == "__main__":
    stopping.catch_signals()  # before the imports that take seconds

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from dwm_ray.cli.command_line import main_guard, parse
from dwm_ray.config import RunConfig
from dwm_ray.data.summary import data_summary, summary_text
from dwm_ray.data.task_data import load_task_data
from dwm_ray.devices import default_device
from dwm_ray.experiment import profiles
from dwm_ray.options import Profile
from dwm_ray.report.findings import Findings, write
from dwm_ray.runs.folder import RunFolder, read_json
from dwm_ray.studies.base import Study, StudyContext, StudyOptions, find_study, studies


@main_guard
def main(argv: list[str] | None = None) -> int:
    argv = sys.argv[1:] if argv is None else argv
    if not argv or argv[0] in ("-h", "--help"):
        print(f"{__doc__}\n{study_list()}")
        return 0 if argv else 2
    study = find_study(argv[0])
    options, config, profile = parse(study.options, argv[1:], f"{study.name}: {study.help}.\n\n{study_list()}")
    if options.run is not None:
        run = RunFolder.open(options.run)
        run.fetched(run.root / "world_models")
        options, record = options.model_copy(update={"run": str(run.root)}), read_json(run.config)
        config, profile = RunConfig.model_validate(record["run"]), profiles.resolve(record["profile"])
    torch.set_num_threads(1)  # small networks are slower on two threads if other processes use the cores
    run_study(Console(highlight=False), study, options, config, profile)
    return 0


def study_list() -> str:
    """Return the studies, one line each."""
    return "\n".join(["Studies:", *(f"  {study.name}: {study.help}" for study in studies().values())])


def run_study(console: Console, study: Study, options: StudyOptions, config: RunConfig, profile: Profile) -> None:
    """Load the data, run the study, and print and write its findings."""
    recorded = read_json(Path(options.run) / "data.json") if options.run else None
    task_data = load_task_data(config, (recorded or {}).get("fingerprint"))
    try:
        options.output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(f"--output {options.output}: cannot create this folder ({error.strerror})") from error
    store = RunFolder(options.output.resolve())  # world models that all studies share
    facts = data_summary(task_data.episodes, task_data.task)
    console.print(summary_text(facts))
    console.print(f"profile: {profile}; study seed: {options.study_seed}")
    findings = study.measure(
        StudyContext(config, profile, task_data, default_device(), store, logger(console)), options
    )
    folder = RunFolder.create(options.output, f"{study.name}-{config.task}")
    folder.record_environment()
    record = {
        "study": study.name,
        "profile": profile,
        "options": options.model_dump(mode="json"),
        "data": facts,
        "run": config.model_dump(mode="json"),
    }
    present(console, folder, findings, options, record)


def present(
    console: Console, folder: RunFolder, findings: Findings, options: StudyOptions, record: dict[str, Any]
) -> None:
    """Print the tables and write all files; the last line is the path of the page."""
    for line in findings.summary:
        console.print(line)
    for table in findings.tables:
        if options.markdown:
            print(f"\n**{table.title}**\n\n{table.markdown()}\n\n{table.note}")
        else:
            console.print(table.terminal())
    console.print(f"report: {write(folder.root, findings, record)}", soft_wrap=True)


def logger(console: Console) -> Callable[[str], None]:
    """Return a function that prints progress lines with the elapsed seconds."""
    start = time.perf_counter()

    def log(line: str) -> None:
        console.print(f"[{time.perf_counter() - start:5.0f} s] {line}", markup=False, soft_wrap=True)

    return log


if __name__ == "__main__":
    sys.exit(main())

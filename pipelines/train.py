"""Train one agent on logged data and on segments that a world model generates, with every option of a run.

On Ray, a worker trains the world model, samplers generate the stream of imagined segments, and a learner consumes it.
--in-process does the same without Ray. --world-model none learns from the logged data alone (model-free). --resume DIR
resumes a run. --check-cluster only inspects the cluster's nodes.
"""

from __future__ import annotations

from dwm_ray.cli import stopping

if __name__ == "__main__":
    stopping.catch_signals()  # before the imports that take seconds

import sys
from pathlib import Path

from rich.console import Console

from dwm_ray.cli import session
from dwm_ray.cli.command_line import main_guard
from dwm_ray.cli.execution import executor
from dwm_ray.config import RunConfig
from dwm_ray.experiment.search_space import Trial, record_trials
from dwm_ray.options import Frozen
from dwm_ray.runs.folder import status_of


class Command(Frozen):
    """The run's own options."""

    output: Path = Path("runs")
    """Folder in which the run's folder is created. Without --storage, all nodes must see it."""
    storage: str | None = None
    """Keep the run in a folder of its name at s3://BUCKET/FOLDER, gs://BUCKET/FOLDER or a path; --output is then this
    machine's copy of it. Credentials come from the environment or the machine's role."""
    resume: str | None = None
    """Resume this run folder, or an address in a storage. Other options are taken from it."""
    in_process: bool = False
    """Run everything in this process, without Ray."""
    check_cluster: bool = False
    """Inspect every node of the cluster (versions, GPUs, clock, --output or --storage) and print the result; no
    run is started."""


@main_guard
def main(argv: list[str] | None = None) -> int:
    console, seconds = Console(), session.stopwatch()
    command, config, profile = session.options(Command, sys.argv[1:] if argv is None else argv, __doc__ or "")
    if command.check_cluster:
        return check_nodes(console, command, config)
    if command.resume is None:
        record = {"profile": profile, "run": config.model_dump(mode="json")}
        run, task_data = session.begin(console, config, command.output, record, command.storage)
    else:
        run, task_data, record = session.reopen(console, command.resume, command.output)
        config = RunConfig.stored(record["run"], run.config)
    trial = Trial(config, {})
    with session.resumable(run, "pipelines/train.py", new=command.resume is None):
        session.announce_synthesis(console, task_data, [config])
        record_trials([trial], run)
        if status_of(run.trial(trial.id)) == "done":
            console.print("this run has finished already")
        else:
            with executor(console, config, run, task_data, 1, command.in_process) as chosen:
                chosen.run_one(trial)
    session.conclude(console, run, seconds())
    return 0 if status_of(run.trial(trial.id)) == "done" else 1


def check_nodes(console: Console, command: Command, config: RunConfig) -> int:
    """Join or start the cluster as a run would and inspect its nodes; return 1 if one of them would break a run."""
    if command.in_process or command.resume is not None:
        raise ValueError("--check-cluster: starts no run; expected neither --in-process nor --resume")
    from dwm_ray.distributed.node_report import report_nodes  # Ray is optional for everything else

    return report_nodes(console, config, command.output, command.storage)


if __name__ == "__main__":
    sys.exit(main())

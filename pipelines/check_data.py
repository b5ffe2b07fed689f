"""Check a dataset: print contradictions and their repairs, and write a page with plots.

FILE is an HDF5 or Parquet file, a folder of Parquet files, the folder of a Minari dataset, minari:ID, or a task such as
hopper-medium. It is read in the same way as in a run. The page shows returns, lengths, actions and rewards.

Examples:
  python pipelines/check_data.py robot.hdf5 --env MyRobot-v0
  python pipelines/check_data.py minari:mujoco/hopper/medium-v0 --output hopper.html
"""

from dwm_ray.cli import stopping

if __name__ == "__main__":
    stopping.catch_signals()  # before the imports that take seconds

from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console

from dwm_ray.cli.command_line import OPTIONAL, main_guard
from dwm_ray.data.load import read_dataset
from dwm_ray.data.summary import data_summary, summary_text
from dwm_ray.options import DataConfig
from dwm_ray.report.data_page import data_findings
from dwm_ray.report.findings import render
from dwm_ray.runs.files import check_writable, write_atomically
from dwm_ray.tasks.table import task_for

MAX_ROWS = 40
"""Longer tables are not printed; the page contains all tables."""


def check(
    file: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="FILE")],
    env: Annotated[str | None, OPTIONAL] = None,
    env_kwargs: Annotated[str | None, OPTIONAL] = None,
    output: Annotated[Path | None, OPTIONAL] = None,
    download: bool = False,
) -> int:
    """Check FILE.

    Args:
        file: File, folder, Minari dataset or task.
        env: Gymnasium id of the environment, if the data do not name it or you want to use another one.
        env_kwargs: JSON object of keyword arguments of the environment.
        output: HTML page to write; default: NAME-check.html in the working directory.
        download: Download D4RL's file or the Minari dataset if it is not on this machine.
    """
    console = Console(highlight=False, soft_wrap=True)
    check_writable("--output", output or Path("NAME-check.html"))
    episodes = read_dataset(file, DataConfig(env=env, env_kwargs=env_kwargs), download)
    card = episodes.card
    facts = data_summary(episodes, task_for(card.name, card.env_id, 1.0, card.env_options))
    findings = data_findings(episodes, facts)
    page = output or Path(f"{card.name.replace('/', '-')}-check.html")
    write_atomically(page, render(findings, facts))
    console.print(summary_text(facts))
    for table in findings.tables:
        if len(table.rows) <= MAX_ROWS:
            console.print(table.terminal())
    console.print(str(page))
    return 0


@main_guard
def main(argv: list[str] | None = None) -> int:
    return tyro.cli(check, args=argv, description=__doc__)


if __name__ == "__main__":
    raise SystemExit(main())

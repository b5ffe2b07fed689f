"""Run every world model with every agent for a few updates on a task's data, and print which pairs work.

A cell names the batch source of the method. recorded: segments of recorded steps; stream: segments generated ahead of
time and shared; on-policy: segments refreshed with recent policies; inline: segments generated within each update;
model-free: only recorded transitions; plans: the agent samples its actions from the world model. The program writes no
run folder.

It also prints, checks and updates the generated tables of the documentation.
"""

from dwm_ray.cli import stopping

if __name__ == "__main__":
    stopping.catch_signals()  # before the imports that take seconds

import sys
from pathlib import Path
from typing import Annotated

import torch
import tyro
from rich.console import Console
from rich.table import Table

from dwm_ray.cli.command_line import OPTIONAL, main_guard
from dwm_ray.data.task_data import load_task_data
from dwm_ray.experiment.names import agent_label, world_model_label
from dwm_ray.experiment.profiles import run_config
from dwm_ray.local.compatibility import Pair, all_pairs
from dwm_ray.report.doc_tables import render, stale, update
from dwm_ray.report.doc_tables import tables as generated
from dwm_ray.report.table import NOTHING

Files = Annotated[tuple[Path, ...], tyro.conf.arg(metavar="FILE ..."), OPTIONAL]


def run(
    task: str = "halfcheetah-medium-replay",
    data: Annotated[str | None, tyro.conf.arg(metavar="FILE"), OPTIONAL] = None,
    markdown: bool = False,
    tables: Annotated[tuple[str, ...], OPTIONAL] = (),
    check: Files = (),
    write: Files = (),
) -> int:
    """Run every pair, or process the tables of the documentation.

    Args:
        task: Task whose data the pairs learn from.
        data: HDF5 or Parquet file to use instead of the task's data.
        markdown: Print the generated tables as Markdown, each below its name.
        tables: Print only these generated tables.
        check: Exit with code 1 if a region `<!-- generated: NAME -->` of these Markdown files differs from the code.
        write: Update these regions in these Markdown files.
    """
    if check or write:
        return _regions(check, write)
    if len(tables) == 1:
        print(render(tables[0]))
        return 0
    if markdown or tables:
        for name in tables or generated():
            print(f"<!-- generated: {name} -->\n\n{render(name)}\n\n<!-- /generated -->\n")
        return 0
    torch.set_num_threads(1)
    config = run_config("laptop").with_values({"task": task, "data.file": data})
    Console().print(pair_table(all_pairs(load_task_data(config), "laptop")))
    return 0


def _regions(check: tuple[Path, ...], write: tuple[Path, ...]) -> int:
    for path in write:
        for name in update(path):
            print(f"{path}: updated {name}")
    outdated = [(path, name) for path in check for name in stale(path)]
    for path, name in outdated:
        print(f"{path}: {name} differs from the code; run pipelines/methods.py --write {path}", file=sys.stderr)
    return 1 if outdated else 0


def pair_table(pairs: list[Pair]) -> Table:
    """Return one row per world model and one column per agent; rejected pairs are dashes."""
    agents = list(dict.fromkeys(pair.agent for pair in pairs))
    table = Table("world model", *map(agent_label, agents))
    status = {(pair.world_model, pair.agent): NOTHING if pair.status == "rejected" else pair.status for pair in pairs}
    for model in dict.fromkeys(pair.world_model for pair in pairs):
        label = world_model_label(None if model == "none" else model)
        table.add_row(label, *(status[model, agent] for agent in agents))
    return table


@main_guard
def main(argv: list[str] | None = None) -> int:
    return tyro.cli(run, args=argv, description=__doc__)


if __name__ == "__main__":
    sys.exit(main())

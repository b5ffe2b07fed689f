"""Show which world models go with which agents: every pair is tried for a few updates on the data of a task.

Cells say where the agent's batches come from: stream (drawn ahead, shared), rounds (drawn with recent policies),
inline (imagined within the update), model-free; plans: the agent acts by imagining. Nothing is trained or written.
"""

from __future__ import annotations

import sys
from typing import Annotated

import torch
import tyro
from rich.console import Console
from rich.table import Table

from dwm_ray.cli.command_line import main_guard
from dwm_ray.config import DataConfig
from dwm_ray.data.task_data import load_task_data
from dwm_ray.experiment.compatibility import Pair, all_pairs
from dwm_ray.experiment.names import agent_label, world_model_label
from dwm_ray.experiment.profiles import run_config

NONE = "–"


def run(
    task: str = "halfcheetah-medium-replay",
    data: Annotated[str | None, tyro.conf.arg(metavar="FILE")] = None,
    markdown: bool = False,
) -> int:
    """Try every pair.

    Args:
        task: Whose data are used.
        data: A file of your own in place of the task's.
        markdown: Print a table for a README.
    """
    torch.set_num_threads(1)
    config = run_config("laptop").model_copy(update={"task": task, "data": DataConfig(file=data)})
    pairs = all_pairs(load_task_data(config), "laptop")
    print(as_markdown(pairs)) if markdown else Console().print(as_table(pairs))
    return 0


def rows_of(pairs: list[Pair]) -> tuple[list[str], list[list[str]]]:
    """(headers, rows): one row a world model, one column an agent."""
    agents = list(dict.fromkeys(pair.agent for pair in pairs))
    models = list(dict.fromkeys(pair.world_model for pair in pairs))
    status = {(pair.world_model, pair.agent): NONE if pair.status == "refused" else pair.status for pair in pairs}
    labels = {name: world_model_label(None if name == "none" else name) for name in models}
    rows = [[labels[model], *(status[model, agent] for agent in agents)] for model in models]
    return ["world model", *map(agent_label, agents)], rows


def as_markdown(pairs: list[Pair]) -> str:
    headers, rows = rows_of(pairs)
    return "\n".join("| " + " | ".join(cells) + " |" for cells in [headers, ["---"] * len(headers), *rows])


def as_table(pairs: list[Pair]) -> Table:
    headers, rows = rows_of(pairs)
    table = Table(*headers)
    for cells in rows:
        table.add_row(*cells)
    return table


@main_guard
def main(argv: list[str] | None = None) -> int:
    return tyro.cli(run, args=sys.argv[1:] if argv is None else argv, description=__doc__)


if __name__ == "__main__":
    sys.exit(main())

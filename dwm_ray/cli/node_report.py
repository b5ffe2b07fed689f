"""Print the state of the nodes of a cluster."""

from functools import partial
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table

from dwm_ray.config import RunConfig
from dwm_ray.distributed.cluster.check import Facts, Node, inspect_cluster
from dwm_ray.distributed.executor import cluster_placement


def report_nodes(console: Console, config: RunConfig, output: Path, storage: str | None) -> int:
    """Inspect all nodes and print a table and the problems; return 1 if there are problems."""
    with cluster_placement(config, partial(console.print, highlight=False, soft_wrap=True)) as placement:
        driver, nodes = inspect_cluster(output, storage)
    versions = ", ".join(f"{name} {version}" for name, version in driver.versions.items())
    console.print(f"here: {versions}", highlight=False, soft_wrap=True)
    console.print(node_table(nodes, driver))
    problems = [f"{node.name} ({node.address}): {problem}" for node in nodes for problem in node.problems(driver)]
    for line in problems:
        console.print(line, style="red", highlight=False, markup=False, soft_wrap=True)
    fitting = placement.concurrent_trials
    console.print(f"{len(nodes)} nodes, {fitting} trials in parallel, {len(problems)} problems", highlight=False)
    return 1 if problems else 0


def node_table(nodes: list[Node], driver: Facts) -> Table:
    """Return one row per node; names and addresses are not cut in a job log of 80 columns."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for title in ("node", "IP", "versions", "CPUs", "GPUs", "free disk", "clock", "storage"):
        table.add_column(title, overflow="fold", no_wrap=title in ("node", "IP"))
    for node in nodes:
        identity, facts = (node.name, node.address), node.facts
        if facts is None:
            table.add_row(*identity, "no answer", f"{node.cpus:g}", f"{node.gpus:g}", style="red")
            continue
        table.add_row(
            *identity,
            "same" if facts.versions == driver.versions else "different",
            f"{node.cpus:g}",
            "\n".join([f"{node.gpus:g}", *facts.gpus]),
            f"{facts.free_bytes / 2**30:.0f} GiB",
            f"{1000 * node.skew_s:+.1f} ms\n± {1000 * node.error_s:.1f}",
            storage_cell(facts),
        )
    return table


def storage_cell(facts: Facts) -> str:
    """Describe whether a node reaches the storage, and the seconds of a round trip of a small file."""
    if facts.storage is not None:
        return "not shared"
    return "shared" if facts.storage_s is None else f"shared, {facts.storage_s:.2f} s"

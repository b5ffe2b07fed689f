"""Nodes of a cluster: those that are alive and those that its autoscaler may add.

`ray up` stores the cluster file in the home folder of the head, where jobs run. The file lists the node types and the
maximum number of nodes of each. A cluster without that file does not scale.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import ray
import yaml

from dwm_ray.distributed.cluster.settings import joined_address
from dwm_ray.runs.home import home_folder

BOOTSTRAP = "ray_bootstrap_config.yaml"
Resources = dict[str, float]
"""Resources of one node by name: CPU, GPU, and custom resources."""


@dataclass(frozen=True)
class ScalingLimits:
    """Nodes that an autoscaler may add to the head."""

    types: tuple[tuple[Resources, int], ...] = ()
    """(resources of one node, maximum number of nodes) of every type with known resources. The types of a `local`
    provider are unknown."""
    max_nodes: int = 0
    """Maximum number of nodes of all types together."""

    def nodes(self) -> list[Resources]:
        return [resources for resources, count in self.types for _ in range(count)]


def alive_nodes() -> list[Resources]:
    """Return the resources of every alive node of the connected cluster."""
    return [dict(node["Resources"]) for node in ray.nodes() if node["Alive"]]


def scaling_limits() -> ScalingLimits | None:
    """Read the limits from the cluster file on this machine; None for a cluster started here or without such a file."""
    path = home_folder() / BOOTSTRAP
    if joined_address() is None or not os.access(path, os.R_OK):
        return None
    return parse_limits(yaml.safe_load(path.read_text()))


def parse_limits(file: dict[str, Any]) -> ScalingLimits:
    types = dict(file.get("available_node_types") or {})
    types.pop(file.get("head_node_type"), None)
    max_nodes = file.get("max_workers", 0)
    known = [(kind.get("resources"), min(kind.get("max_workers", max_nodes), max_nodes)) for kind in types.values()]
    return ScalingLimits(
        tuple((dict(resources), count) for resources, count in known if resources and count > 0), max_nodes
    )


def nodes_offering(nodes: list[Resources], name: str) -> list[Resources]:
    return [node for node in nodes if node.get(name, 0) > 0]


def total(nodes: list[Resources], name: str) -> float:
    """Return the sum of a resource over nodes."""
    return sum(node.get(name, 0.0) for node in nodes)

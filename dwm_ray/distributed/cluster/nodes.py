"""The nodes of a cluster: those that are there, and those that its autoscaler may still bring.

`ray up` leaves the cluster's file in the home folder of the head, where jobs run; it says which types of node there can
be, and how many. Without that file a cluster has the nodes that it has.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
import yaml

BOOTSTRAP = "ray_bootstrap_config.yaml"
Resources = dict[str, float]
"""What one node offers, by name: CPU, GPU, and names of a cluster's own."""


@dataclass(frozen=True)
class Growth:
    """What an autoscaler may bring beside the head."""

    types: tuple[tuple[Resources, int], ...] = ()
    """(resources of one node, most nodes) of every type whose resources are known; a `local` provider's are not."""
    most: int = 0
    """Nodes that there can be in all."""

    def nodes(self) -> list[Resources]:
        """All of them at once."""
        return [resources for resources, most in self.types for _ in range(most)]


def nodes_here() -> list[Resources]:
    """The alive nodes of the cluster that this process is connected to."""
    return [dict(node["Resources"]) for node in ray.nodes() if node["Alive"]]


def growth_here() -> Growth | None:
    """What the cluster's file on this machine promises; None where nothing grows: a cluster that this process started
    itself, or one without such a file."""
    path = Path.home() / BOOTSTRAP
    if "RAY_ADDRESS" not in os.environ or not path.exists():
        return None
    return growth_of(yaml.safe_load(path.read_text()))


def growth_of(file: dict[str, Any]) -> Growth:
    """What a cluster's file promises beside the head."""
    types = dict(file.get("available_node_types") or {})
    types.pop(file.get("head_node_type"), None)
    most = file.get("max_workers", 0)
    known = [(kind.get("resources"), min(kind.get("max_workers", most), most)) for kind in types.values()]
    return Growth(tuple((dict(resources), count) for resources, count in known if resources and count > 0), most)


def offering(nodes: list[Resources], name: str) -> list[Resources]:
    """The nodes that offer a resource."""
    return [node for node in nodes if node.get(name, 0) > 0]


def total(nodes: list[Resources], name: str) -> float:
    """How much of a resource nodes offer together."""
    return sum(node.get(name, 0.0) for node in nodes)

"""Divide a cluster's resources between samplers, trials and learners.

Nodes are those that are alive and those that the autoscaler may add. `ray up` stores the cluster file, which lists the
node types and the maximum number of nodes of each, in the home folder of the head, where jobs run. A cluster without
that file does not scale.
"""

import os
from dataclasses import dataclass
from typing import Any

import ray
import yaml

from dwm_ray.distributed.cluster.settings import joined_address
from dwm_ray.options import ClusterConfig
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
    return parse_limits(yaml.safe_load(path.read_text(encoding="utf-8")))


def parse_limits(file: dict[str, Any]) -> ScalingLimits:
    types = dict(file.get("available_node_types") or {})
    types.pop(file.get("head_node_type"), None)
    max_nodes = file.get("max_workers", 0)
    pairs = [(kind.get("resources"), min(kind.get("max_workers", max_nodes), max_nodes)) for kind in types.values()]
    return ScalingLimits(
        tuple((dict(resources), count) for resources, count in pairs if resources and count > 0), max_nodes
    )


def nodes_offering(nodes: list[Resources], name: str) -> list[Resources]:
    return [node for node in nodes if node.get(name, 0) > 0]


def total(nodes: list[Resources], name: str) -> float:
    """Return the sum of a resource over nodes."""
    return sum(node.get(name, 0.0) for node in nodes)


TRIAL_CPUS = 0.1
"""CPUs reserved by Tune's trial process, which only waits for its learner."""
SAMPLER_CPUS = 0.1
"""CPUs reserved by a sampler on a machine without GPUs: samplers work in bursts, before the learners need the cores."""
LEARNER_NODE, SAMPLER_NODE = "learner_node", "sampler_node"
"""Custom resources that give a node its role; see `ClusterConfig.roles`."""
ROLE_AMOUNT = 0.001
"""Amount of a role resource that a process reserves: it pins the process to such a node and never runs out."""
EPSILON = 1e-6


class InsufficientResourcesError(ValueError):
    """The nodes have no room for the configured processes."""


@dataclass(frozen=True)
class Quotas:
    """Resources reserved by one process of each kind."""

    sampler: Resources
    trial: Resources
    """Resources of Tune's process of a trial; Ray Train places its controller next to it."""
    learner: Resources
    """Resources of a learner or of a world-model worker."""
    roles: bool
    """Whether samplers run only on nodes with `sampler_node` and all others only on nodes with `learner_node`."""


@dataclass(frozen=True)
class Placement:
    """Resources of the cluster, the quotas, and the number of trials that fit in parallel."""

    gpus: float
    cpus: float
    quotas: Quotas
    concurrent_trials: int

    @property
    def use_gpu(self) -> bool:
        """Whether learners and world-model workers get GPUs."""
        return "GPU" in self.quotas.learner

    @property
    def learner_threads(self) -> int:
        """Threads per learner: small networks gain nothing from more threads than CPUs."""
        return _threads(self.quotas.learner)

    @property
    def sampler_threads(self) -> int:
        return _threads(self.quotas.sampler)

    def describe(self) -> str:
        """Return one line for the output of a program."""
        roles = f"on: samplers on nodes with {SAMPLER_NODE}, learners on nodes with {LEARNER_NODE}"
        return (
            f"{self.cpus:g} CPUs, {self.gpus:g} GPUs; roles {roles if self.quotas.roles else 'off'}; "
            f"{self.concurrent_trials} trials in parallel"
        )


def _threads(quota: Resources) -> int:
    return max(1, int(quota["CPU"] + 0.5))


def compute_quotas(config: ClusterConfig, nodes: list[Resources]) -> Quotas:
    """Return the quotas for a cluster of these nodes, present or future."""
    named = nodes_offering(nodes, LEARNER_NODE) + nodes_offering(nodes, SAMPLER_NODE)
    roles = config.roles == "on" or (config.roles == "auto" and bool(named))
    learners, samplers = _by_role(nodes, roles)
    trial, learner, sampler = {"CPU": TRIAL_CPUS}, {"CPU": config.learner_cpus}, {"CPU": SAMPLER_CPUS}
    if roles:  # no learner competes with a sampler for a core there
        trial[LEARNER_NODE] = learner[LEARNER_NODE] = sampler[SAMPLER_NODE] = ROLE_AMOUNT
        sampler["CPU"] = 1.0
    if total(learners, "GPU"):
        learner["GPU"] = config.learner_gpus
    if total(samplers, "GPU"):
        sampler["CPU"], sampler["GPU"] = 1.0, config.sampler_gpus
    return Quotas(sampler, trial, learner, roles)


def place(config: ClusterConfig, nodes: list[Resources] | None = None, quotas: Quotas | None = None) -> Placement:
    """Divide the nodes (by default the alive ones): samplers first, then slots of a trial process and a learner.

    `quotas` are those of the complete cluster if `nodes` are a part of it. Raise InsufficientResourcesError if the
    nodes have no room for all samplers and learners.
    """
    nodes = alive_nodes() if nodes is None else nodes
    quotas = quotas or compute_quotas(config, nodes)
    slots = min(_slots(config, nodes, quotas, name) for name in ("CPU", "GPU"))
    if slots + EPSILON < learners_needed(config):
        raise InsufficientResourcesError(_shortage(config, nodes, quotas))
    return Placement(total(nodes, "GPU"), total(nodes, "CPU"), quotas, int(slots + EPSILON))


def learners_needed(config: ClusterConfig) -> int:
    """Return the number of learners, or of workers of one world model, that must fit in parallel."""
    return max(config.min_learners, config.model_workers)


def _by_role(nodes: list[Resources], roles: bool) -> tuple[list[Resources], list[Resources]]:
    """Return (nodes for learners, nodes for samplers)."""
    return (nodes_offering(nodes, LEARNER_NODE), nodes_offering(nodes, SAMPLER_NODE)) if roles else (nodes, nodes)


def _slots(config: ClusterConfig, nodes: list[Resources], quotas: Quotas, name: str) -> float:
    """Return the number of trials that one resource suffices for; samplers fill nodes without learners first."""
    learners, samplers = _by_role(nodes, quotas.roles)
    exclusive = total([node for node in samplers if node not in learners], name)
    shared = max(0.0, config.num_samplers * quotas.sampler.get(name, 0.0) - exclusive)
    if shared > total(samplers, name) - exclusive + EPSILON:
        return 0.0
    per_trial = quotas.trial.get(name, 0.0) + quotas.learner.get(name, 0.0)
    return (total(learners, name) - shared) / per_trial if per_trial else float("inf")


def _shortage(config: ClusterConfig, nodes: list[Resources], quotas: Quotas) -> str:
    available = f"{total(nodes, 'CPU'):g} CPUs and {total(nodes, 'GPU'):g} GPUs"
    if quotas.roles:
        learners, samplers = _by_role(nodes, roles=True)
        available += f" on {len(samplers)} nodes with {SAMPLER_NODE} and {len(learners)} with {LEARNER_NODE}"
    return (
        f"the cluster has {available}, too few for {config.num_samplers} samplers of {_without_role(quotas.sampler)} "
        f"and {learners_needed(config)} learners of {_without_role(quotas.learner)}; lower cluster.num_samplers, "
        "cluster.sampler_gpus or cluster.learner_*" + (", or set --cluster.roles off" if quotas.roles else "")
    )


def _without_role(quota: Resources) -> Resources:
    return {name: amount for name, amount in quota.items() if name not in (LEARNER_NODE, SAMPLER_NODE)}

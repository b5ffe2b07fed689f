"""Find a Ray cluster or start one here, and divide its resources."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from typing import Any

import ray

from dwm_ray.config import ClusterConfig
from dwm_ray.distributed.cluster import settings
from dwm_ray.distributed.cluster.nodes import Resources, growth_here, nodes_here, offering, total
from dwm_ray.runs.folder import RunFailed

TRIAL_CPUS = 0.1
"""CPUs that Tune's trial process holds: it only waits for its learner."""
SAMPLER_CPUS = 0.1
"""CPUs that a sampler holds on a machine without GPUs: it works in bursts, before the learners need the cores."""
LEARNER_NODE, SAMPLER_NODE = "learner_node", "sampler_node"
"""Custom resources that a node offers to be known by its role; see `ClusterConfig.roles`."""
STARTED_TOO_SLOWLY = "timed out during startup"
"""In the text of Ray's error, which has no class of its own."""
TOKEN = 0.001
"""How much of its node's name a process holds: enough to be kept there, too little ever to be short of."""


class TooFew(ValueError):  # noqa: N818 - it names what is wrong
    """The nodes have no room for what is configured."""


@dataclass(frozen=True)
class Shares:
    """What each kind of process asks of its node."""

    sampler: Resources
    trial: Resources
    """Tune's process of a trial; Ray Train keeps its controller beside it."""
    learner: Resources
    """Also one worker of a world model."""
    roles: bool
    """Are samplers kept on nodes that offer `sampler_node`, and the others on those with `learner_node`?"""


@dataclass(frozen=True)
class Placement:
    """What each kind of process asks of the cluster, and how many trials fit at once."""

    gpus: float
    cpus: float
    shares: Shares
    concurrent_trials: int

    @property
    def learner(self) -> Resources:
        return self.shares.learner

    @property
    def sampler(self) -> Resources:
        return self.shares.sampler

    @property
    def use_gpu(self) -> bool:
        """Do learners and world models get GPUs?"""
        return "GPU" in self.learner

    @property
    def learner_threads(self) -> int:
        """Small networks gain nothing from more threads than CPUs; two learners on two cores take one each."""
        return max(1, int(self.learner["CPU"] + 0.5))

    @property
    def sampler_threads(self) -> int:
        return max(1, int(self.sampler["CPU"] + 0.5))

    def describe(self) -> str:
        """For the program's first lines."""
        roles = f"samplers on nodes with {SAMPLER_NODE}, learners on those with {LEARNER_NODE}"
        return (
            f"{self.cpus:g} CPUs, {self.gpus:g} GPUs; roles {f'on: {roles}' if self.shares.roles else 'off'}; "
            f"{self.concurrent_trials} trials at once"
        )


def connect() -> str:
    """Join the cluster of RAY_ADDRESS (set by `ray job submit`), else start one here; again is no harm. Returns where
    its dashboard is and how to get in. ValueError where none answers, and for one without a dashboard: its sweeps would
    wait for ever. RunFailed where this machine is too busy for Ray to start."""
    address = os.environ.get("RAY_ADDRESS")
    where: dict[str, Any] = {"address": address}
    if not address:
        where = {"address": "local", "include_dashboard": True, "dashboard_host": "127.0.0.1"}
    context = _join(where)
    if not context.dashboard_url:
        raise ValueError(
            "the Ray cluster runs without its dashboard, which Ray Train needs to free the resources of ended trials; "
            "install ray[default] on the head and start it with --include-dashboard=true"
        )
    token = f" (it asks for the token in {_token_file()})" if os.environ["RAY_AUTH_MODE"] == "token" else ""
    return f"Ray dashboard: http://{context.dashboard_url}{token}"


def _join(where: dict[str, Any]) -> Any:
    try:
        return ray.init(
            **where,
            ignore_reinit_error=True,
            log_to_driver=False,
            logging_level=logging.WARNING,
            runtime_env={"worker_process_setup_hook": f"{settings.__name__}.{settings.name_own_cluster.__name__}"},
        )
    except ConnectionError as error:
        message = f"RAY_ADDRESS {where['address']}: no Ray cluster answers there, or not to this token"
        raise ValueError(message) from error
    except Exception as error:
        if STARTED_TOO_SLOWLY not in str(error):
            raise
        load = os.getloadavg()[0]
        raise RunFailed(
            f"Ray did not start within the 30 s that it gives itself (load of this machine: {load:.0f} on "
            f"{os.cpu_count()} CPUs); begin again, or go on with --resume, when it is less busy"
        ) from error


def _token_file() -> str:
    return os.environ.get("RAY_AUTH_TOKEN_PATH", "~/.ray/auth_token")


def gpus_to_come() -> bool:
    """Does the cluster that RAY_ADDRESS names have GPUs, or may it get some? Joins it."""
    if "RAY_ADDRESS" not in os.environ:
        return False
    connect()
    growth = growth_here()
    return total(nodes_here() + (growth.nodes() if growth else []), "GPU") > 0


def divide(config: ClusterConfig, nodes: list[Resources]) -> Shares:
    """What each kind of process asks for on a cluster of these nodes: there now, or to come."""
    named = offering(nodes, LEARNER_NODE) + offering(nodes, SAMPLER_NODE)
    roles = config.roles == "on" or (config.roles == "auto" and bool(named))
    learners, samplers = _by_role(nodes, roles)
    trial, learner, sampler = {"CPU": TRIAL_CPUS}, {"CPU": config.learner_cpus}, {"CPU": SAMPLER_CPUS}
    if roles:  # nobody waits for a sampler's core where samplers are alone
        trial[LEARNER_NODE] = learner[LEARNER_NODE] = sampler[SAMPLER_NODE] = TOKEN
        sampler["CPU"] = 1.0
    if total(learners, "GPU"):
        learner["GPU"] = config.learner_gpus
    if total(samplers, "GPU"):
        sampler["CPU"], sampler["GPU"] = 1.0, config.sampler_gpus
    return Shares(sampler, trial, learner, roles)


def place(config: ClusterConfig, nodes: list[Resources] | None = None, shares: Shares | None = None) -> Placement:
    """Divide the cluster: samplers first, the rest in slots of one trial (its process and its learner) each. `shares`
    tells how a cluster that is not complete yet will be divided. TooFew where it has no room for all."""
    nodes = nodes_here() if nodes is None else nodes
    shares = shares or divide(config, nodes)
    slots = min(_slots(config, *_by_role(nodes, shares.roles), shares, name) for name in ("CPU", "GPU"))
    if slots + 1e-6 < learners_needed(config):
        raise TooFew(_too_few(config, nodes, shares))
    return Placement(total(nodes, "GPU"), total(nodes, "CPU"), shares, int(slots + 1e-6))


def learners_needed(config: ClusterConfig) -> int:
    """Learners, or workers of one world model, that must fit at once."""
    return max(config.min_learners, config.model_workers)


def _by_role(nodes: list[Resources], roles: bool) -> tuple[list[Resources], list[Resources]]:
    """(nodes for learners, nodes for samplers)"""
    return (offering(nodes, LEARNER_NODE), offering(nodes, SAMPLER_NODE)) if roles else (nodes, nodes)


def _slots(
    config: ClusterConfig, learners: list[Resources], samplers: list[Resources], shares: Shares, name: str
) -> float:
    """Trials that one resource is enough for. Samplers go where learners do not, as far as there is room."""
    apart = total([node for node in samplers if node not in learners], name)
    beside = max(0.0, config.num_samplers * shares.sampler.get(name, 0.0) - apart)
    if beside > total(samplers, name) - apart + 1e-6:
        return 0.0
    a_trial = shares.trial.get(name, 0.0) + shares.learner.get(name, 0.0)
    return (total(learners, name) - beside) / a_trial if a_trial else float("inf")


def _too_few(config: ClusterConfig, nodes: list[Resources], shares: Shares) -> str:
    there = f"{total(nodes, 'CPU'):g} CPUs and {total(nodes, 'GPU'):g} GPUs"
    if shares.roles:
        numbers = (len(offering(nodes, SAMPLER_NODE)), len(offering(nodes, LEARNER_NODE)))
        there += f" on {numbers[0]} nodes with {SAMPLER_NODE} and {numbers[1]} with {LEARNER_NODE}"
    return (
        f"the cluster has {there}, too few for {config.num_samplers} samplers of {_without_token(shares.sampler)} and "
        f"{learners_needed(config)} learners of {_without_token(shares.learner)}; lower cluster.num_samplers, "
        "cluster.sampler_gpus or cluster.learner_*" + (", or say --cluster.roles off" if shares.roles else "")
    )


def _without_token(needs: Resources) -> Resources:
    return {name: amount for name, amount in needs.items() if name not in (LEARNER_NODE, SAMPLER_NODE)}

"""Nodes for a program: asked for when it starts, waited for in sight of the user, given back when it ends.

A cluster that scaled down to its head has nothing to divide. So a program asks the autoscaler for room for its samplers
and learners. Then the work itself keeps the nodes: samplers hold theirs all the time, Ray Train asks for its learners,
and what was on a node that is taken away waits for the next.

A cluster has one request, whoever makes it, and keeps it. Ray Train's coordinator puts its own in the place of ours
every 20 s, long after its run; so ours is made again at every look. Every end of the program that Python sees, Ctrl-C
and SIGTERM too, withdraws it; only SIGKILL while it waits leaves it standing.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ray.autoscaler import sdk

from dwm_ray.config import ClusterConfig
from dwm_ray.distributed.cluster.nodes import Growth, Resources, growth_here, nodes_here
from dwm_ray.distributed.cluster.resources import Placement, Shares, TooFew, divide, learners_needed, place
from dwm_ray.runs.folder import RunFailed

POLL_S = 2.0
LINE_S = 30.0
Say = Callable[[str], None]


@contextmanager
def provisioned(config: ClusterConfig, say: Say) -> Iterator[Placement]:
    """The cluster's division, once it has room for what is configured. ValueError where it can never have,
    RunFailed where nodes do not come within `wait_for_nodes_s`."""
    growth = growth_here()
    if growth is None:
        yield place(config, nodes_here())
        return
    ground = nodes_here() + growth.nodes()
    shares = divide(config, ground)
    if growth.types:
        place(config, ground, shares)  # too few even then: say so now
    if not growth.types:
        yield _wait(config, None, growth, [], say)
        return
    with _withdrawn(say):
        yield _wait(config, shares, growth, bundles(config, shares), say)


def bundles(config: ClusterConfig, shares: Shares) -> list[Resources]:
    """What to ask for: every sampler, and every trial that must fit with its learner."""
    return [shares.sampler] * config.num_samplers + [shares.trial, shares.learner] * learners_needed(config)


@contextmanager
def _withdrawn(say: Say) -> Iterator[None]:
    """No request stands afterwards."""
    try:
        yield
    finally:
        _withdraw(say)


def _withdraw(say: Say) -> None:
    """A head that is gone takes the request with it; everything else the user must hear of, for nodes cost."""
    try:
        sdk.request_resources(bundles=[])
        say("nodes: the request is withdrawn; idle ones leave by themselves")
    except Exception as error:
        say(f"nodes: the request could not be withdrawn ({error!r}); see that no node stays")


def _wait(config: ClusterConfig, shares: Shares | None, growth: Growth, wanted: list[Resources], say: Say) -> Placement:
    """Ask and look until there is room; tell every half minute."""
    started, told = time.monotonic(), -LINE_S
    while True:
        if wanted:
            sdk.request_resources(bundles=wanted)
        nodes, waited = nodes_here(), time.monotonic() - started
        try:
            return place(config, nodes, shares)
        except TooFew as error:
            if len(nodes) > growth.most:  # the head and all others are there
                raise
            if waited > config.wait_for_nodes_s:
                raise RunFailed(
                    f"no room on the cluster's {len(nodes)} nodes after cluster.wait_for_nodes_s = "
                    f"{config.wait_for_nodes_s:g} s: {error}"
                ) from error
            if waited - told >= LINE_S:
                say(_line(nodes, waited, config, error))
                told = waited
        time.sleep(POLL_S)


def _line(nodes: list[Resources], waited: float, config: ClusterConfig, error: TooFew) -> str:
    patience = f"{waited:.0f} of at most {config.wait_for_nodes_s:g} s"
    return f"nodes: waiting for room, {patience}; {len(nodes)} are there; {error}"

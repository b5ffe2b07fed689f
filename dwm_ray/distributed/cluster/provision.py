"""Request nodes from the autoscaler, wait until they join, and withdraw the request at the end of the program.

The request brings nodes to a cluster that is scaled down to its head. Once the program runs, its samplers and learners
retain the nodes. A cluster stores one request, and Ray Train's coordinator overwrites it every 20 s, even long after
its run has ended, so every poll repeats the request. It is withdrawn when the program ends, including by Ctrl-C or
SIGTERM, but not after SIGKILL.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ray.autoscaler import sdk

from dwm_ray.distributed.cluster.resources import (
    InsufficientResourcesError,
    Placement,
    Quotas,
    Resources,
    ScalingLimits,
    alive_nodes,
    compute_quotas,
    learners_needed,
    place,
    scaling_limits,
)
from dwm_ray.options import ClusterConfig
from dwm_ray.runs.folder import RunFailed

POLL_S = 2.0
MESSAGE_S = 30.0
Print = Callable[[str], None]


@contextmanager
def provisioned(config: ClusterConfig, on_message: Print) -> Iterator[Placement]:
    """Yield the cluster's placement as soon as it has room for the configured processes.

    Raise ValueError if there is no room even with all nodes that the autoscaler may add, and RunFailed if nodes do not
    join within `wait_for_nodes_s`.
    """
    limits = scaling_limits()
    if limits is None:
        yield place(config, alive_nodes())
        return
    complete = alive_nodes() + limits.nodes()
    quotas = compute_quotas(config, complete)
    if not limits.types:
        yield _wait(config, None, limits, [], on_message)
        return
    place(config, complete, quotas)  # raises immediately if the complete cluster is too small
    with _withdraw_at_end(on_message):
        yield _wait(config, quotas, limits, bundles(config, quotas), on_message)


def bundles(config: ClusterConfig, quotas: Quotas) -> list[Resources]:
    """Return the resources to request: every sampler, and every trial that must fit with its learner."""
    return [quotas.sampler] * config.num_samplers + [quotas.trial, quotas.learner] * learners_needed(config)


@contextmanager
def _withdraw_at_end(on_message: Print) -> Iterator[None]:
    """Withdraw the request at the end; failures are reported, because a request that remains active occupies nodes."""
    try:
        yield
    finally:
        try:
            sdk.request_resources(bundles=[])
            on_message("nodes: the request is withdrawn; idle nodes terminate by themselves")
        except Exception as error:
            on_message(f"nodes: the request could not be withdrawn ({error!r}); check that no node remains")


def _wait(
    config: ClusterConfig, quotas: Quotas | None, limits: ScalingLimits, bundles: list[Resources], on_message: Print
) -> Placement:
    """Repeat the request until there is room; print the progress every `MESSAGE_S`."""
    start, printed = time.monotonic(), -MESSAGE_S
    while True:
        if bundles:
            sdk.request_resources(bundles=bundles)
        nodes, waited = alive_nodes(), time.monotonic() - start
        try:
            return place(config, nodes, quotas)
        except InsufficientResourcesError as error:
            if len(nodes) > limits.max_nodes:  # the head and all others have joined
                raise
            if waited > config.wait_for_nodes_s:
                raise RunFailed(
                    f"no room on the cluster's {len(nodes)} nodes after cluster.wait_for_nodes_s = "
                    f"{config.wait_for_nodes_s:g} s: {error}"
                ) from error
            if waited - printed >= MESSAGE_S:
                limit = f"{waited:.0f} of at most {config.wait_for_nodes_s:g} s"
                on_message(f"nodes: waiting for room, {limit}; {len(nodes)} nodes have joined; {error}")
                printed = waited
        time.sleep(POLL_S)

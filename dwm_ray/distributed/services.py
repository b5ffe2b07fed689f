"""The services that all trials of a run on a cluster share: buffer and samplers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from dwm_ray.config import RunConfig
from dwm_ray.data.task_data import DataIdentity
from dwm_ray.distributed.buffer.shards import Shards
from dwm_ray.distributed.cluster.resources import Placement, Resources
from dwm_ray.distributed.workers.sampler import Sampler
from dwm_ray.runs.folder import RunFolder


@dataclass(frozen=True)
class ClusterServices:
    """Handles of the shared actors; can be sent to any process."""

    run: RunFolder
    data: DataIdentity
    placement: Placement
    buffer: Shards
    samplers: tuple[Any, ...]
    sampler_names: tuple[str, ...]

    @staticmethod
    def start(config: RunConfig, run: RunFolder, data: DataIdentity, placement: Placement) -> ClusterServices:
        """Start the actors on this node, since others may be removed; they live as long as the calling process."""
        cluster = config.cluster
        needs = actor_options(placement.quotas.sampler)
        names = tuple(f"sampler-{number}" for number in range(cluster.num_samplers))
        arguments = (config.model_dump_json(), run.address, data.fingerprint, placement.sampler_threads)
        samplers = tuple(
            ray.remote(Sampler).options(name=name, max_restarts=-1, **needs).remote(*arguments) for name in names
        )
        on_this_node = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        buffer = Shards.build(run.address, cluster, list(names), on_this_node)
        return ClusterServices(run, data, placement, buffer, samplers, names)


def actor_options(needs: Resources) -> dict[str, Any]:
    named = {name: amount for name, amount in needs.items() if name not in ("CPU", "GPU")}
    return {"num_cpus": needs["CPU"], "num_gpus": needs.get("GPU", 0), "resources": named}

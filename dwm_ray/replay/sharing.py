"""Group runs by stream and by the rows selected from it."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from dwm_ray.blocks.stream import StreamSpec
from dwm_ray.config import RunConfig
from dwm_ray.data.task_data import TaskData
from dwm_ray.options import fingerprint
from dwm_ray.replay.sources import StreamRing, selection
from dwm_ray.world_models.parts.build import model_fingerprint


def stream_of(config: RunConfig, task_data: TaskData) -> StreamSpec:
    """Return the specification of the stream that a run learns from."""
    return StreamSpec.of(config, model_fingerprint(config, task_data.identity))


def ring_key(config: RunConfig, task_data: TaskData) -> str:
    """Return a key that is equal for runs that select the same rows of the same stream."""
    rule = config.filter.model_dump(mode="json"), config.filter.plugin_name()
    return fingerprint(
        [stream_of(config, task_data).fingerprint, rule, config.synthesis.horizon, config.replay.capacity]
    )


def by_stream(configs: Sequence[RunConfig], task_data: TaskData) -> list[list[RunConfig]]:
    """Group runs by their stream."""
    streams: dict[str, list[RunConfig]] = {}
    for config in configs:
        streams.setdefault(stream_of(config, task_data).fingerprint, []).append(config)
    return list(streams.values())


def stream_rings(configs: Sequence[RunConfig], task_data: TaskData, device: torch.device) -> dict[str, StreamRing]:
    """Return one empty ring per `ring_key` for runs of one stream."""
    spec, rings = stream_of(configs[0], task_data), dict[str, StreamRing]()
    for config in configs:
        ring = StreamRing(spec, selection(config), config.replay, device)
        rings.setdefault(ring_key(config, task_data), ring)
    return rings

"""What trials keep of their streams: those with one stream, horizon and filter keep the same rows."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from dwm_ray.blocks.stream import StreamSpec
from dwm_ray.config import RunConfig
from dwm_ray.data.task_data import TaskData
from dwm_ray.options import fingerprint
from dwm_ray.replay.sources import Intake, selection
from dwm_ray.world_models.parts.build import model_fingerprint


def stream_of(config: RunConfig, task_data: TaskData) -> StreamSpec:
    """The stream that a run learns from."""
    return StreamSpec.of(config, model_fingerprint(config, task_data.identity))


def stream_key(config: RunConfig, task_data: TaskData) -> str:
    """Equal for runs that keep the same rows of the same stream."""
    kept = config.filter.model_dump(mode="json"), config.filter.plugin_name()
    return fingerprint(
        [stream_of(config, task_data).fingerprint, kept, config.synthesis.horizon, config.replay.capacity]
    )


def by_stream(configs: Sequence[RunConfig], task_data: TaskData) -> list[list[RunConfig]]:
    """Runs that learn from one stream, together."""
    streams: dict[str, list[RunConfig]] = {}
    for config in configs:
        streams.setdefault(stream_of(config, task_data).fingerprint, []).append(config)
    return list(streams.values())


def intakes_of(
    configs: Sequence[RunConfig], task_data: TaskData, device: torch.device, horizon: int = 0
) -> dict[str, Intake]:
    """For each `stream_key` runs with one stream what takes its rows in, padded to `horizon` where they are shorter."""
    spec, intakes = stream_of(configs[0], task_data), dict[str, Intake]()
    for config in configs:
        intake = Intake(spec, selection(config, horizon), config.replay, device)
        intakes.setdefault(stream_key(config, task_data), intake)
    return intakes

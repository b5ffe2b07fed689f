"""What trials keep of their streams: those with one stream, horizon and filter keep the same rows."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from dwm_ray.config import RunConfig, fingerprint
from dwm_ray.problem import Problem, model_fingerprint
from dwm_ray.sources import Intake, admission
from dwm_ray.synthesis import StreamSpec


def stream_of(config: RunConfig, problem: Problem) -> StreamSpec:
    """The stream that a run learns from."""
    return StreamSpec.of(config, model_fingerprint(config, problem.identity))


def share_of(config: RunConfig, problem: Problem) -> str:
    """Equal for runs that keep the same rows of the same stream."""
    kept = config.filter.model_dump(mode="json"), config.filter.plugin_name()
    return fingerprint([stream_of(config, problem).fingerprint, kept, config.synthesis.horizon, config.replay.capacity])


def by_stream(configs: Sequence[RunConfig], problem: Problem) -> list[list[RunConfig]]:
    """Runs that learn from one stream, together."""
    streams: dict[str, list[RunConfig]] = {}
    for config in configs:
        streams.setdefault(stream_of(config, problem).fingerprint, []).append(config)
    return list(streams.values())


def intakes_of(
    configs: Sequence[RunConfig], problem: Problem, device: torch.device, horizon: int = 0
) -> dict[str, Intake]:
    """For each `share_of` runs with one stream what takes its rows in, padded to `horizon` where they are shorter."""
    spec, intakes = stream_of(configs[0], problem), dict[str, Intake]()
    for config in configs:
        intake = Intake(spec, admission(config, horizon), config.replay, device)
        intakes.setdefault(share_of(config, problem), intake)
    return intakes

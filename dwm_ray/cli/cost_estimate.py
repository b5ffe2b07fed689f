"""Estimate of the cost of a long run before it starts, from a short measurement on this machine."""

import sys
from collections import defaultdict
from collections.abc import Sequence

from rich.console import Console

from dwm_ray.config import RunConfig
from dwm_ray.data.task_data import TaskData
from dwm_ray.devices import default_device
from dwm_ray.experiment.names import method_name
from dwm_ray.replay.sources import source_kind, stream_of
from dwm_ray.studies.bursts import GENERATE, TRAIN, Bursts
from dwm_ray.world_models.base import trained_options
from dwm_ray.world_models.parts.build import model_fingerprint

HOURS_TO_CONFIRM = 24.0


def print_cost_estimate(
    console: Console, configs: Sequence[RunConfig], task_data: TaskData, in_process: bool, confirmed: bool
) -> None:
    """Print the estimated hours of the trials and their shared parts.

    Raises:
        ValueError: The total exceeds a day, a terminal is attached, and the user has not confirmed with --yes.
    """
    device = default_device()
    if device.type == "cpu" and not in_process:
        from dwm_ray.distributed.cluster.settings import joined_address  # Ray is optional for everything else

        if joined_address() is not None:
            console.print("cost: not estimated, because this machine has no GPU and the cluster may have GPUs")
            return
    console.print("cost: measuring a few updates of each method")
    hours = estimated_hours(configs, Bursts(task_data, device, updates=2, segments=64, repeats=1))
    total, kind = sum(hours.values()), "GPU" if device.type == "cuda" else "CPU"
    terms = ", ".join(f"{name} {value:.2g} h" for name, value in hours.items())
    console.print(
        f"cost: about {total:.2g} {kind} hours in total ({terms}), without evaluations; estimated from a few updates "
        "on the device of this machine"
    )
    if total > HOURS_TO_CONFIRM and not confirmed and sys.stdin.isatty():
        raise ValueError(f"--yes: the run takes about {total:.2g} {kind} hours; expected --yes to start it")


def estimated_hours(configs: Sequence[RunConfig], bursts: Bursts) -> dict[str, float]:
    """Return the hours of world models, streams and learners.

    The parts of each method are measured once, at its longest horizon, and multiplied by the number of different
    world models, streams and trials.
    """
    identity = bursts.task_data.identity
    hours, methods, measured = defaultdict[str, float](float), defaultdict[str, list[RunConfig]](list), set[str]()
    for config in configs:
        methods[method_name(config.model_dump(mode="json"))].append(config)
    for trials in methods.values():
        shared, per_trial = bursts.parts_of(max(trials, key=lambda config: config.synthesis.horizon))
        models = {model_fingerprint(config, identity) for config in trials if trained_options(config) is not None}
        streams = [config for config in trials if source_kind(config) == "stream"]
        keys = {TRAIN: models, GENERATE: {stream_of(config, bursts.task_data).fingerprint for config in streams}}
        for part in shared:
            hours[part.name] += part.seconds * len(keys[part.name] - measured) / 3600
        measured |= keys[TRAIN] | keys[GENERATE]
        hours["learn"] += sum(part.seconds for part in per_trial) * len(trials) / 3600
    return dict(hours)

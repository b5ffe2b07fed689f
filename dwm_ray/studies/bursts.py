"""Cost of a method: short bursts of the parts of a run, multiplied by its numbers of updates and segments.

The parts are gradient steps of the world model, blocks of a stream and updates of the agent. The world model is not
trained: the cost of a network does not depend on its weights.

On a CPU, seconds are CPU seconds, independent of other programs; on a GPU they are wall-clock seconds. The result is
the median of several bursts after a warm-up. Memory on a CPU is the peak of the whole process, including libraries and
data, as Linux reports it; on a GPU it is the peak that torch has allocated.
"""

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import torch
from torch.utils.flop_counter import FlopCounterMode

from dwm_ray.blocks.stream import generate_block
from dwm_ray.config import RunConfig
from dwm_ray.data.task_data import TaskData
from dwm_ray.local.compatibility import untrained_learner
from dwm_ray.replay.sources import source_kind, start_rtg, stream_of
from dwm_ray.runs.clock import peak_memory
from dwm_ray.training.fit_world_model import world_model_trainer
from dwm_ray.training.learner import Learner
from dwm_ray.world_models.base import WorldModel, model_options, trained_options

TRAIN, GENERATE, LEARN, REFRESH = "train the world model", "generate segments", "learn", "refresh segments"


def measure_bursts(
    work: Callable[[], object], units: int, repeats: int, device: torch.device
) -> tuple[float, float, int]:
    """Return (seconds and operations per unit, peak bytes) of `work`, which processes `units` units per call.

    It is called `repeats` + 2 times.
    """
    work()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    else:
        with suppress(OSError):  # if the system does not allow it, the peak is an upper bound
            Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")
    seconds = [timed(work, device) for _ in range(repeats)]
    peak = torch.cuda.max_memory_allocated(device) if device.type == "cuda" else peak_memory()
    return median(seconds) / units, count_flops(work) / units, peak


def timed(work: Callable[[], object], device: torch.device) -> float:
    if device.type != "cuda":
        started = time.process_time()
        work()
        return time.process_time() - started
    torch.cuda.synchronize(device)
    started = time.perf_counter()
    work()
    torch.cuda.synchronize(device)
    return time.perf_counter() - started


def count_flops(work: Callable[[], object]) -> int:
    """Return the operations of matrix products and convolutions of one call, including its backward passes."""
    with FlopCounterMode(display=False) as counter:
        work()
    return int(counter.get_total_flops())


@dataclass(frozen=True)
class Setting:
    """Data and device of the measurement."""

    task_data: TaskData
    device: torch.device


@dataclass(frozen=True)
class PartCost:
    """Cost of work that is done `count` times."""

    name: str
    unit: str
    count: int
    seconds_each: float
    flops_each: float
    peak_bytes: int | None = None

    @property
    def seconds(self) -> float:
        return self.count * self.seconds_each

    @property
    def flops(self) -> float:
        return self.count * self.flops_each


@dataclass(frozen=True)
class Bursts:
    """Sizes of the bursts."""

    updates: int
    segments: int
    repeats: int


def parts_of(setting: Setting, config: RunConfig, bursts: Bursts) -> tuple[list[PartCost], list[PartCost]]:
    """Return (costs that trials share, costs of each trial) of a run."""
    if trained_options(config) is None:
        return [], _learn_parts(setting, config, None, bursts)
    train, model = _train_part(setting, config, bursts)
    stream = [_generate_part(setting, config, model, bursts)] if source_kind(config) == "stream" else []
    return [train, *stream], _learn_parts(setting, config, model, bursts)


def _train_part(setting: Setting, config: RunConfig, bursts: Bursts) -> tuple[PartCost, WorldModel]:
    trainer = world_model_trainer(config, setting.task_data, setting.device)
    reading = measure_bursts(lambda: trainer.run(bursts.updates), bursts.updates, bursts.repeats, setting.device)
    return PartCost(TRAIN, "update", model_options(config).num_updates, *reading), trainer.averaged


def _generate_part(setting: Setting, config: RunConfig, model: WorldModel, bursts: Bursts) -> PartCost:
    spec = stream_of(_short(config, bursts), setting.task_data)
    starts = setting.task_data.start_pairs(config.training.discount, setting.device)
    sampler, rule = model.with_options(spec.sampling), setting.task_data.task.termination
    rtg = start_rtg(config, setting.task_data, setting.device)
    reading = measure_bursts(
        lambda: generate_block(spec, 0, sampler, starts, rule, rtg), bursts.segments, bursts.repeats, setting.device
    )
    return PartCost(GENERATE, "segment", stream_of(config, setting.task_data).num_segments, *reading)


def _learn_parts(setting: Setting, config: RunConfig, model: WorldModel | None, bursts: Bursts) -> list[PartCost]:
    """Return the cost of updates and, if segments are refreshed with the policy, of the refreshes."""
    trainer = _learner(setting, config, model, bursts)
    first_s = timed(lambda: trainer.run(1), setting.device)  # includes the first refresh
    reading = measure_bursts(lambda: trainer.run(bursts.updates), bursts.updates, bursts.repeats, setting.device)
    seconds, update_flops, _ = reading
    parts = [PartCost(LEARN, "update", config.training.num_updates, *reading)]
    if source_kind(config) == "on-policy":
        count = -(-config.training.num_updates // config.synthesis.refresh_every)
        another = _learner(setting, config, model, bursts)  # a learner has one first refresh
        flops = count_flops(lambda: another.run(1)) - update_flops
        parts.append(PartCost(REFRESH, "cycle", count, max(0.0, first_s - seconds), flops))
    return parts


def _learner(setting: Setting, config: RunConfig, model: WorldModel | None, bursts: Bursts) -> Learner:
    config = _short(config, bursts) if source_kind(config) == "stream" else config
    return untrained_learner(config, setting.task_data, model, setting.device)


def _short(config: RunConfig, bursts: Bursts) -> RunConfig:
    return config.with_values({"synthesis.num_segments": bursts.segments, "synthesis.block_rows": bursts.segments})

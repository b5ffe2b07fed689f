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


def timed(work: Callable[[], object], device: torch.device) -> float:
    if device.type != "cuda":
        start = time.process_time()
        work()
        return time.process_time() - start
    torch.cuda.synchronize(device)
    start = time.perf_counter()
    work()
    torch.cuda.synchronize(device)
    return time.perf_counter() - start


def count_flops(work: Callable[[], object]) -> int:
    """Return the operations of matrix products and convolutions of one call, including its backward passes."""
    with FlopCounterMode(display=False) as counter:
        work()
    return int(counter.get_total_flops())


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
    """Bursts of the parts of runs on one dataset and device."""

    task_data: TaskData
    device: torch.device
    updates: int
    """Gradient steps of a burst."""
    segments: int
    repeats: int

    def parts_of(self, config: RunConfig) -> tuple[list[PartCost], list[PartCost]]:
        """Return (costs that trials share, costs of each trial) of a run."""
        if trained_options(config) is None:
            return [], self._learn_parts(config, None)
        train, model = self._train_part(config)
        stream = [self._generate_part(config, model)] if source_kind(config) == "stream" else []
        return [train, *stream], self._learn_parts(config, model)

    def _measure(self, work: Callable[[], object], units: int) -> tuple[float, float, int]:
        """Return (seconds and operations per unit, peak bytes) of `work`, which processes `units` units per call.

        It is called `repeats` + 2 times.
        """
        work()
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)
        else:
            with suppress(OSError):  # if the system does not allow it, the peak is an upper bound
                Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")
        seconds = [timed(work, self.device) for _ in range(self.repeats)]
        peak = torch.cuda.max_memory_allocated(self.device) if self.device.type == "cuda" else peak_memory()
        return median(seconds) / units, count_flops(work) / units, peak

    def _train_part(self, config: RunConfig) -> tuple[PartCost, WorldModel]:
        trainer = world_model_trainer(config, self.task_data, self.device)
        reading = self._measure(lambda: trainer.run(self.updates), self.updates)
        return PartCost(TRAIN, "update", model_options(config).num_updates, *reading), trainer.averaged

    def _generate_part(self, config: RunConfig, model: WorldModel) -> PartCost:
        spec = stream_of(self._short(config), self.task_data)
        starts = self.task_data.start_pairs(config.training.discount, self.device)
        sampler, rule = model.with_options(spec.sampling), self.task_data.task.termination
        rtg = start_rtg(config, self.task_data, self.device)
        reading = self._measure(lambda: generate_block(spec, 0, sampler, starts, rule, rtg), self.segments)
        return PartCost(GENERATE, "segment", stream_of(config, self.task_data).num_segments, *reading)

    def _learn_parts(self, config: RunConfig, model: WorldModel | None) -> list[PartCost]:
        """Return the cost of updates and, if segments are refreshed with the policy, of the refreshes."""
        trainer = self._learner(config, model)
        first_s = timed(lambda: trainer.run(1), self.device)  # includes the first refresh
        reading = self._measure(lambda: trainer.run(self.updates), self.updates)
        seconds, update_flops, _ = reading
        parts = [PartCost(LEARN, "update", config.training.num_updates, *reading)]
        if source_kind(config) == "on-policy":
            count = -(-config.training.num_updates // config.synthesis.refresh_every)
            another = self._learner(config, model)  # a learner has one first refresh
            flops = count_flops(lambda: another.run(1)) - update_flops
            parts.append(PartCost(REFRESH, "cycle", count, max(0.0, first_s - seconds), flops))
        return parts

    def _learner(self, config: RunConfig, model: WorldModel | None) -> Learner:
        config = self._short(config) if source_kind(config) == "stream" else config
        return untrained_learner(config, self.task_data, model, self.device)

    def _short(self, config: RunConfig) -> RunConfig:
        return config.with_values({"synthesis.num_segments": self.segments, "synthesis.block_rows": self.segments})

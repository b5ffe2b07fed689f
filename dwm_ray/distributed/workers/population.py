"""Learn several trials as one under Ray Train: the worker process of a population.

Every block of a stream is fetched once for all members. Their states are in their own folders, where they lie without
Ray too; so a worker that starts again takes up those that are not done, together where they stand at one update, and
Ray Train holds no checkpoint of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import torch

from dwm_ray.config import RunConfig
from dwm_ray.data.task_data import TaskData, load_task_data
from dwm_ray.distributed.buffer.shards import Shards
from dwm_ray.distributed.metrics.gauges import Gauges
from dwm_ray.distributed.workers.prefetcher import BlockPrefetcher
from dwm_ray.distributed.workers.sync import export_transfer_stats
from dwm_ray.experiment.grouping import groups_of
from dwm_ray.experiment.search_space import Trial
from dwm_ray.local.populations import Held, longest, run_population
from dwm_ray.replay.sharing import by_stream, intakes_of, stream_of
from dwm_ray.runs.folder import RunFolder, status_of


@dataclass(frozen=True)
class PopulationJob:
    """What a population's worker is told. Its world models are trained."""

    name: str
    configs: tuple[str, ...]
    run: str
    data: str
    """Fingerprint of the data."""
    buffer: Shards
    num_threads: int


def population_loop(loop_config: dict[str, Any]) -> None:
    """Ray Train's loop: one worker, all members that are neither done nor failed."""
    job: PopulationJob = loop_config["job"]
    torch.set_num_threads(job.num_threads)
    run = RunFolder.at(job.run)
    export_transfer_stats(run, f"learner-{job.name}")
    configs = [RunConfig.model_validate_json(text) for text in job.configs]
    todo = [config for config in configs if _is_open(config, run)]
    episodes = load_task_data(configs[0], job.data).episodes
    for group in groups_of(todo, run, len(configs)):
        run_population(group, run, TaskData.of(group[0], episodes), partial(_fed, job), Gauging(run.name).told)


def _is_open(config: RunConfig, run: RunFolder) -> bool:
    """Neither done nor failed, by what an earlier worker has left."""
    return status_of(run.fetched(run.trial(Trial(config, {}).id))) not in ("done", "failed")


@contextmanager
def _fed(
    job: PopulationJob, configs: Sequence[RunConfig], task_data: TaskData, run: RunFolder, device: torch.device
) -> Iterator[dict[str, Held]]:
    """What members keep of their streams; learning begins when every ring has enough."""
    held: dict[str, Held] = {}
    with ExitStack() as stack:
        feeds = []
        for own in by_stream(configs, task_data):
            spec, intakes = stream_of(own[0], task_data), intakes_of(own, task_data, device, longest(configs))
            patience_s = max(config.replay.patience_s for config in own)
            feed = BlockPrefetcher(job.buffer.of(spec), spec, list(intakes.values()), job.name, patience_s)
            feeds.append((stack.enter_context(feed), intakes))
        for feed, intakes in feeds:
            every = zip(intakes.items(), feed.ready(), strict=True)
            held |= {share: Held(ring, partial(feed.gauges, intake)) for (share, intake), ring in every}
        yield held


class Gauging:
    """The learner's gauges of every member."""

    def __init__(self, run: str) -> None:
        self._of = cache(lambda trial: Gauges("learner", {"run": run, "trial": trial}))

    def told(self, trial: str, row: dict[str, Any]) -> None:
        """A row of metrics or of an evaluation."""
        self._of(trial).set_row(row)

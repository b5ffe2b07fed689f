"""The learner's worker process under Ray Train: one trial or a population, with streams and rollouts from the cluster.

All state that a restart needs is in the trials' folders, as without Ray; Ray Train holds no checkpoint.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import ray.train
import torch

from dwm_ray.config import RunConfig
from dwm_ray.data.task_data import TaskData, load_task_data
from dwm_ray.devices import default_device
from dwm_ray.distributed.metrics.gauges import Gauges, export_transfer_stats
from dwm_ray.distributed.services import ClusterServices
from dwm_ray.distributed.workers.prefetcher import BlockPrefetcher
from dwm_ray.distributed.workers.rollouts import ActorRollouts
from dwm_ray.evaluation.evaluators import OBJECTIVE, ranked
from dwm_ray.experiment.grouping import groups_of
from dwm_ray.replay.on_policy import RolloutContext
from dwm_ray.replay.sources import by_stream, stream_of, stream_rings
from dwm_ray.runs.folder import RunFolder, status_of
from dwm_ray.runs.trial_status import ENDED
from dwm_ray.training.checkpoints import remove_checkpoint
from dwm_ray.training.fit_world_model import trained_model
from dwm_ray.training.services import RingWithGauges
from dwm_ray.training.trials import train_trials
from dwm_ray.world_models.base import WorldModel
from dwm_ray.world_models.parts.build import model_fingerprint


@dataclass(frozen=True)
class LearnerJob:
    """Trials of one learner worker. Their world models are trained already."""

    name: str
    configs: tuple[str, ...]
    """Options of each trial as JSON."""
    services: ClusterServices
    reports: bool
    """Whether a scheduler or search algorithm of Tune uses the scores."""


def learner_loop(job: LearnerJob) -> None:
    """Train the job's trials that are neither done nor failed; the train loop of Ray Train's only worker."""
    torch.set_num_threads(job.services.placement.learner_threads)
    run = RunFolder.at(job.services.run.address)
    export_transfer_stats(run, f"learner-{job.name}")
    configs = [RunConfig.model_validate_json(text) for text in job.configs]
    folders = {config.trial_id: run.fetched(run.trial(config.trial_id)) for config in configs}
    unfinished = [config for config in configs if status_of(folders[config.trial_id]) not in ENDED]
    for folder in folders.values():
        remove_checkpoint(run, folder)  # the worker before this one may have died earlier
    episodes = load_task_data(configs[0], job.services.data.fingerprint).episodes
    for group in groups_of(unfinished, run, len(configs)):
        task_data = TaskData.of(group[0], episodes)
        train_trials(group, task_data, run, WorkerServices(job, task_data, run))


class WorkerServices:
    """Services of a learner on a cluster; see `training.services.Services`."""

    def __init__(self, job: LearnerJob, task_data: TaskData, run: RunFolder) -> None:
        self._job, self._task_data, self._run, self._device = job, task_data, run, default_device()
        self._gauges = cache(lambda trial: Gauges("learner", {"run": run.name, "trial": trial}))

    def world_model(self, config: RunConfig) -> WorldModel:
        """Load the run's world model from the run folder."""
        folder = self._run.world_model(model_fingerprint(config, self._task_data.identity))
        return trained_model(config, self._run.fetched(folder), self._device)

    @contextmanager
    def streams(self, configs: Sequence[RunConfig]) -> Iterator[dict[str, RingWithGauges]]:
        """Prefetch blocks of all streams into rings; yield when every ring has enough rows."""
        rows: dict[str, RingWithGauges] = {}
        with ExitStack() as stack:
            prefetchers = [
                (stack.enter_context(prefetcher), keys)
                for group in by_stream(configs, self._task_data)
                for prefetcher, keys in [self._prefetcher(group)]
            ]
            for prefetcher, keys in prefetchers:
                for key, ring in zip(keys, prefetcher.wait_until_ready(), strict=True):
                    rows[key] = RingWithGauges(ring.ring, partial(prefetcher.gauges, ring))
            yield rows

    def _prefetcher(self, configs: Sequence[RunConfig]) -> tuple[BlockPrefetcher, list[str]]:
        """Return the prefetcher of a stream, and the keys of its rings."""
        spec, rings = stream_of(configs[0], self._task_data), stream_rings(configs, self._task_data, self._device)
        patience_s = max(config.replay.patience_s for config in configs)
        buffer = self._job.services.buffer.of(spec)
        return BlockPrefetcher(buffer, spec, list(rings.values()), self._job.name, patience_s), list(rings)

    def rollouts(self, config: RunConfig, context: RolloutContext) -> ActorRollouts:
        """Generate rollouts in the sampler actors."""
        name = model_fingerprint(config, self._task_data.identity)
        return ActorRollouts(config, name, self._job.services.sampler_names)

    def on_row(self, trial_id: str, row: dict[str, Any]) -> None:
        """Export a row as gauges; report an evaluation if Tune uses scores (a report blocks until the next poll)."""
        self._gauges(trial_id).set_row(row)
        if self._job.reports and (value := ranked(row)) is not None:
            ray.train.report({OBJECTIVE: value, "update": row["update"]})

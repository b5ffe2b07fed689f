"""Learn one configuration under Ray Train: the learner's worker process.

It takes its stream from the shared buffer (`feed`), learns (`training.learn`) and reports checkpoints to Ray Train,
from which it goes on after a crash.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from dwm_ray.blocks.stream import StreamSpec
from dwm_ray.config import RunConfig
from dwm_ray.data.task_data import load_task_data
from dwm_ray.devices import default_device
from dwm_ray.distributed.buffer.shards import Shards
from dwm_ray.distributed.metrics.gauges import Gauges
from dwm_ray.distributed.workers.checkpoints import report, resume
from dwm_ray.distributed.workers.prefetcher import BlockPrefetcher
from dwm_ray.distributed.workers.rollouts import ActorRollouts
from dwm_ray.distributed.workers.sync import Sender, sending
from dwm_ray.local.run import agent_trainer, learn_trial, ready_agent, trained_model
from dwm_ray.local.run import resume as resume_kept
from dwm_ray.replay.ring import Ring
from dwm_ray.replay.sources import Intake, selection, source_kind
from dwm_ray.runs.folder import RunFolder
from dwm_ray.training.agent import AgentTrainer, NonFiniteLoss
from dwm_ray.training.resume import resume_folder


@dataclass(frozen=True)
class Job:
    """What a learner's worker is told."""

    trial_id: str
    config: str
    run: str
    data: str
    """Fingerprint of the data."""
    world_model: str | None
    """Fingerprint of the trained world model."""
    buffer: Shards
    samplers: tuple[str, ...]
    """Names of the sampler actors."""
    num_threads: int


def learner_loop(loop_config: dict[str, Any]) -> None:
    """Ray Train's loop: one worker, one agent."""
    job: Job = loop_config["job"]
    torch.set_num_threads(job.num_threads)
    config, run = RunConfig.model_validate_json(job.config), RunFolder.at(job.run)
    task_data, device = load_task_data(config, job.data), default_device()
    model = trained_model(config, run.fetched(run.world_model(job.world_model)), device) if job.world_model else None
    agent = ready_agent(config, task_data, model, device)
    folder = run.trial(job.trial_id)
    with _imagined(job, config, device) as (ring, numbers), sending(run, folder, f"learner-{job.trial_id}") as sender:
        trainer = agent_trainer(config, task_data, agent, model, ring, _drawer(job, config))
        seconds = resume(trainer) or resume_kept(trainer, run.fetched(folder))  # which a population has left
        gauges = Gauges("learner", {"run": run.name, "trial": job.trial_id})

        def on_row(row: dict[str, Any]) -> None:
            gauges.set_row(row)
            sender.now_and_then()

        with suppress(NonFiniteLoss):  # recorded in the trial's folder; to try again would diverge again
            learn_trial(trainer, config, task_data, folder, _reporter(trainer, sender), numbers, seconds, on_row)
            run.remove(resume_folder(folder))


@contextmanager
def _imagined(
    job: Job, config: RunConfig, device: torch.device
) -> Iterator[tuple[Ring | None, Callable[[], dict[str, float]]]]:
    """The ring that the run's stream flows into, or None where the run has no stream, and its gauges."""
    if source_kind(config) != "stream":
        yield None, dict
        return
    assert job.world_model is not None
    spec = StreamSpec.of(config, job.world_model)
    intake = Intake(spec, selection(config), config.replay, device)
    with BlockPrefetcher(job.buffer.of(spec), spec, [intake], job.trial_id, config.replay.patience_s) as feed:
        [ring] = feed.ready()
        yield ring, partial(feed.gauges, intake)


def _drawer(job: Job, config: RunConfig) -> ActorRollouts | None:
    """The samplers, for a run that learns from rounds."""
    if source_kind(config) != "rounds":
        return None
    assert job.world_model is not None
    return ActorRollouts(config, job.world_model, list(job.samplers))


def _reporter(trainer: AgentTrainer, sender: Sender) -> Callable[[dict[str, Any]], None]:
    """Tells Ray Train of checkpoints, once the log up to them is stored; rows of metrics go to the gauges, for a report
    waits for Ray Train's poll."""

    def tell(row: dict[str, Any]) -> None:
        sender.now()
        report(trainer, {name: value for name, value in row.items() if isinstance(value, int | float)})

    return tell

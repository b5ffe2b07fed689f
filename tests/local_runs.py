"""Runs in this process, and streams generated in one go as a reference for stored ones."""

from pathlib import Path
from typing import Any

import torch

from dwm_ray.blocks.stream import generate_block
from dwm_ray.config import RunConfig
from dwm_ray.data.segment_rows import SegmentShape
from dwm_ray.data.task_data import TaskData, load_task_data
from dwm_ray.local.executor import run_configs
from dwm_ray.local.services import LocalServices
from dwm_ray.replay.ring import Ring
from dwm_ray.replay.sources import SelectedRing, selection, start_rtg, stream_of
from dwm_ray.runs.folder import RunFolder
from dwm_ray.runs.row_log import read_rows
from dwm_ray.training.stores import load_agent
from dwm_ray.world_models.base import WorldModel

CPU = torch.device("cpu")


def trial_of(config: RunConfig, folder: RunFolder) -> Path:
    return folder.trial(config.trial_id)


def train(config: RunConfig, folder: RunFolder) -> dict[str, Any]:
    """Run a configuration; returns the row of its last evaluation."""
    run_configs([config], folder, load_task_data(config).episodes)
    rows = read_rows(trial_of(config, folder) / "evaluations.jsonl")
    return rows[-1] if rows else {}


def weights(config: RunConfig, folder: RunFolder) -> dict[str, torch.Tensor]:
    return load_agent(trial_of(config, folder) / "checkpoint", CPU)[0].state_dict()


def world_model(config: RunConfig, task_data: TaskData, folder: RunFolder) -> WorldModel:
    return LocalServices(task_data, folder).world_model(config)


def generated_ring(config: RunConfig, task_data: TaskData, model: WorldModel) -> Ring:
    """The ring of a run's whole stream, which is stored nowhere."""
    spec = stream_of(config, task_data)
    starts, rule = task_data.start_pairs(spec.discount, CPU), task_data.task.termination
    ring = SelectedRing(spec, selection(config), config.replay, CPU)
    rtg = start_rtg(config, task_data, CPU)
    for index in range(spec.num_blocks):
        segments = generate_block(spec, index, model.with_options(spec.sampling), starts, rule, rtg)
        shape = SegmentShape.of(segments)
        ring.add(index, shape.fuse(segments).numpy(), shape)
    return ring.ring

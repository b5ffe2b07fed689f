"""Batches that are imagined within the update: the recorded share, the policy, the end of imagined episodes."""

from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_task import ONE_STEP, tiny_config
from torch import Tensor

from dwm_ray.agents.base import new_agent
from dwm_ray.data.task_data import TaskData, load_task_data
from dwm_ray.replay.sources import InlineSource, mixture, recorded_ring, start_rtg
from dwm_ray.types import Segments, Termination
from dwm_ray.world_models.base import SegmentRequest
from dwm_ray.world_models.one_step import OneStep
from dwm_ray.world_models.parts.build import new_model

CPU = torch.device("cpu")


def always(obs: Tensor) -> Tensor:
    return torch.ones(obs.shape[:-1], dtype=torch.bool)


def batch(file: Path, rule: Termination | None = None, seed: int = 0, **options: Any) -> Segments:
    config = tiny_config(file, ONE_STEP, **options)
    task_data: TaskData = load_task_data(config)
    agent, model = new_agent(config, task_data, CPU), new_model(config, task_data, CPU)
    generator = torch.Generator().manual_seed(seed)
    rule = rule or task_data.task.termination
    recorded, targets = recorded_ring(config, task_data, CPU), start_rtg(config, task_data, CPU)
    return InlineSource(config, recorded, model, agent, rule, generator, targets).next_batch(generator)


@pytest.mark.parametrize(("ratio", "num_recorded"), [(0.0, 0), (0.25, 4), (0.5, 8), (1.0, 16)])
def test_the_recorded_share_comes_first_and_is_padded(file: Path, ratio: float, num_recorded: int) -> None:
    segments = batch(file, **{"replay.real_ratio": ratio})
    assert segments.source.tolist() == [0.0] * num_recorded + [1.0] * (16 - num_recorded)
    assert segments.horizon == 2
    assert (segments.rew[:num_recorded, 1] == 0).all()
    assert (segments.discount[:num_recorded] == torch.tensor([0.99, 1.0])).all()
    assert (segments.discount[num_recorded:] == 0.99).all()


def test_imagined_rows_begin_with_recorded_pairs_and_follow_the_agent(file: Path) -> None:
    segments = batch(file)
    config = tiny_config(file, ONE_STEP)
    task_data = load_task_data(config)
    rows = torch.from_numpy(task_data.episodes.obs)
    assert all((rows == start).all(1).any() for start in segments.obs[:, 0])
    assert (segments.act.abs() <= 2).all()
    assert not torch.equal(segments.obs[:, 1], segments.obs[:, 0])


def test_the_tasks_rule_ends_imagined_episodes(file: Path) -> None:
    assert (batch(file, rule=always).discount == 0).all()


def test_the_batch_follows_from_the_generator(file: Path) -> None:
    first, again, other = (batch(file, seed=seed) for seed in (0, 0, 1))
    assert torch.equal(first.obs, again.obs)
    assert not torch.equal(first.obs, other.obs)


def test_without_imagined_rows_a_mixture_is_the_recording(file: Path) -> None:
    config = tiny_config(file, None, **{"replay.real_ratio": 0.0})
    task_data = load_task_data(config)
    sampled = mixture(config, recorded_ring(config, task_data, CPU), None).next_batch(torch.Generator())
    assert sampled.source.tolist() == [0.0] * 16
    assert sampled.horizon == 1


def test_each_imagined_row_has_the_label_of_its_start_pair(file: Path) -> None:
    config = tiny_config(file, ONE_STEP, **{"replay.real_ratio": 0.25, "synthesis.target_rtg": "own"})
    task_data = load_task_data(config)
    targets, requested = start_rtg(config, task_data, CPU), list[Tensor]()
    agent, model = new_agent(config, task_data, CPU), new_model(config, task_data, CPU)

    def generate(request: SegmentRequest) -> Segments:
        requested.append(request.rtg)
        return OneStep.generate(model, request)  # type: ignore[arg-type]

    model.generate = generate  # type: ignore[method-assign]
    generator = torch.Generator().manual_seed(0)
    recorded = recorded_ring(config, task_data, CPU)
    batch = InlineSource(config, recorded, model, agent, always, generator, targets).next_batch(generator)
    rows = torch.from_numpy(task_data.episodes.obs)
    first = [int((rows == start).all(1).nonzero()[0]) for start in batch.obs[4:, 0]]
    assert torch.equal(requested[0], targets[first])

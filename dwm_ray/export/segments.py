"""Generate the segments of a trial's world model again, as episodes for other programs.

Segments with every action become episodes of up to H steps, terminated where the task ends and truncated otherwise. If
a segment contains only the first action, its first step (s, a, r, s') becomes an episode of one step. Filter, horizon
and return-to-go are those of the trial unless they are changed. All next states are known.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from dwm_ray import __version__
from dwm_ray.agents.base import Agent
from dwm_ray.blocks.stream import StreamSpec, generate_from, start_rows
from dwm_ray.config import RunConfig
from dwm_ray.data.content import with_fingerprint
from dwm_ray.data.task_data import TaskData, load_task_data
from dwm_ray.devices import default_device
from dwm_ray.export.trials import ChosenTrial
from dwm_ray.replay.selection import Selection
from dwm_ray.replay.sources import selection, source_kind, start_rtg, stream_of
from dwm_ray.tasks.table import TaskSpec
from dwm_ray.training.fit_world_model import is_trained, trained_model
from dwm_ray.training.stores import load_agent
from dwm_ray.types import DataCard, Episodes, Segments, Spaces
from dwm_ray.world_models.base import WorldModel
from dwm_ray.world_models.parts.build import model_fingerprint


@dataclass(frozen=True)
class GeneratedData:
    """Generated episodes with their origin."""

    episodes: Episodes
    task: TaskSpec
    """Task of the data that the world model was trained on."""
    facts: dict[str, str | int | float]
    """Origin of the episodes."""
    repairs: dict[str, int]
    """Numbers of dropped segments and clipped actions, by reason."""


def generate_data(trial: ChosenTrial, changes: dict[str, Any]) -> GeneratedData:
    """Generate a trial's stream of segments with changed options, and return the selected segments as episodes.

    The first step of each segment is generated as well, independently of the trial's `world_model.first_step`.

    Raises:
        ValueError: The trial has no trained world model, or the options require another one.
    """
    config = _config(trial, changes)
    task_data = load_task_data(config, trial.results["data"].get("fingerprint"))
    segments, num_dropped = _finite(Segments.cat(list(_selected_blocks(trial, config, task_data, default_device()))))
    episodes, num_clipped = as_episodes(segments, _card(config, task_data), task_data.episodes.spaces)
    repairs = {"segments with infinite or undefined numbers, dropped": num_dropped, "actions, clipped": num_clipped}
    return GeneratedData(episodes, task_data.task, _facts(config, task_data, trial), repairs)


def _config(trial: ChosenTrial, changes: dict[str, Any]) -> RunConfig:
    config = RunConfig.stored(trial.row["config"], trial.run.trial(trial.row["id"]) / "config.json")
    if source_kind(config) in ("transitions", "recorded"):
        raise ValueError(
            f"{trial.run.address}: trial {trial.row['id']} ({trial.row['method']}) learns from recorded steps; "
            "expected --trial ID of one that learns from a trained world model"
        )
    imagined = {"world_model.first_step": "imagined"} if hasattr(config.world_model, "first_step") else {}
    return config.with_values({**imagined, **changes})


def _selected_blocks(
    trial: ChosenTrial, config: RunConfig, task_data: TaskData, device: torch.device
) -> Iterator[Segments]:
    """Generate the blocks in order and yield the segments selected by the filter, on the CPU.

    A policy-dependent world model follows the trial's policy. Raises ValueError if the options require another model.
    """
    folder = trial.run.fetched(trial.run.world_model(model_fingerprint(config, task_data.identity)))
    if not is_trained(folder):
        raise ValueError(
            f"{trial.run.address}: holds no world model with these options; expected changes of options that do "
            "not change its weights"
        )
    model, (agent, _) = trained_model(config, folder, device), load_agent(trial.checkpoint, device)
    spec, rule = stream_of(config, task_data), selection(config)
    for index in range(spec.num_blocks):
        segments = _block(config, spec, index, model, agent, task_data, spec.generator(index, device))
        yield select_segments(rule, segments, rule.generator(spec, index, device)).to("cpu")


def _block(
    config: RunConfig,
    spec: StreamSpec,
    index: int,
    model: WorldModel,
    agent: Agent,
    task_data: TaskData,
    noise: torch.Generator,
) -> Segments:
    """Generate a block as in training, but with the final policy if the model follows one."""
    pairs = task_data.start_pairs(spec.discount, noise.device)
    rows = start_rows(spec, index, len(pairs)).to(noise.device)
    starts, rtg = pairs[rows], start_rtg(config, task_data, noise.device)
    if source_kind(config) == "on-policy":
        starts = replace(starts, act=agent.explore(starts.obs[:, 0], noise).unsqueeze(1))
    return generate_from(
        model,
        starts,
        task_data.task.termination,
        spec.discount,
        policy=lambda obs, step: agent.explore(obs, noise),
        horizon=config.synthesis.horizon if model.follows_policy else model.max_horizon,
        rtg=rtg[rows],
        generator=noise,
    )


def select_segments(rule: Selection, segments: Segments, generator: torch.Generator) -> Segments:
    """Return the selected segments, cut to the horizon, with every action.

    The result contains single steps if the filter selects steps, or if segments contain only the first action.
    """
    every_action = segments.act.shape[1] == segments.horizon
    by_step = every_action and rule.filter.per_transition
    selected = replace(rule, transitions=by_step).apply(segments, generator)
    return selected if every_action else selected.prefix(1)


def as_episodes(segments: Segments, card: DataCard, spaces: Spaces) -> tuple[Episodes, int]:
    """Return one episode per segment with every action, and the number of actions clipped to the bounds."""
    ends = segments.alive.sum(1).cumsum(0) - 1  # last row of each segment
    steps = segments.transitions()
    obs, next_obs, act = steps.obs[:, 0].numpy(), steps.obs[:, 1].numpy(), steps.act[:, 0].numpy()
    bounded = np.clip(act, np.array(spaces.act_low, np.float32), np.array(spaces.act_high, np.float32))
    terminated = (steps.discount[:, 0] == 0).numpy()
    truncated = np.zeros_like(terminated)
    truncated[ends.numpy()] = True
    known_next = np.ones_like(terminated)
    rew = steps.rew[:, 0].numpy()
    episodes = Episodes(obs, bounded, rew, next_obs, terminated, truncated & ~terminated, known_next, card, spaces)
    return with_fingerprint(episodes), int((bounded != act).any(1).sum())


def _finite(segments: Segments) -> tuple[Segments, int]:
    """Return the segments with only finite numbers, and the number of the others."""
    tensors = (segments.obs, segments.act, segments.rew)
    finite = torch.stack([tensor.flatten(1).isfinite().all(1) for tensor in tensors]).all(0)
    return segments[finite], int((~finite).sum())


def _card(config: RunConfig, task_data: TaskData) -> DataCard:
    assert config.world_model is not None
    name, card = config.world_model.plugin_name(), task_data.episodes.card
    return DataCard(f"{config.task}-{name}", f"generated by {name}", "", card.env_id, "", card.env_options)


def _facts(config: RunConfig, task_data: TaskData, trial: ChosenTrial) -> dict[str, str | int | float]:
    assert config.world_model is not None
    return {
        "generator": f"dwm_ray {__version__}, world model {config.world_model.plugin_name()}",
        "world_model": model_fingerprint(config, task_data.identity),
        "data": f"{task_data.episodes.card.name} ({task_data.episodes.card.source})",
        "data_fingerprint": task_data.episodes.card.fingerprint,
        "filter": config.filter.plugin_name(),
        "horizon": config.synthesis.horizon,
        "target_rtg": config.synthesis.target_rtg,
        "seed": config.synthesis.seed,
        "run": trial.run.name,
        "trial": trial.row["id"],
    }

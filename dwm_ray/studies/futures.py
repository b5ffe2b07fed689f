"""What studies that compare distributions share: disjoint starts, a clone that drives, futures of either kind.

Generated futures start in one half of the windows and are compared with the recorded futures of the other half. The
same comparison with the recorded futures of the first half is the floor: what a perfect model would come out at.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from dwm_ray.blocks.stream import end_imagined_episodes
from dwm_ray.data.split import split_episodes
from dwm_ray.data.windows import WindowSet
from dwm_ray.evaluation.clone import BehaviourClone, clone_behaviour
from dwm_ray.evaluation.futures import Futures, Scale, StepDistance, recorded_futures, segment_futures
from dwm_ray.studies.base import Lab
from dwm_ray.types import Segments, Windows
from dwm_ray.world_models.base import WorldModel


@dataclass(frozen=True)
class Halves:
    """Windows with different starts."""

    start_from: Windows
    compare_with: Windows


def halves(windows: WindowSet, num_each: int, generator: torch.Generator) -> Halves:
    """`num_each` windows for each half, or half of all where there are fewer."""
    order = torch.randperm(windows.num_windows, generator=generator, device=generator.device)
    num = min(num_each, windows.num_windows // 2)
    return Halves(windows.gather(order[:num]), windows.gather(order[num : 2 * num]))


def scale_of(lab: Lab) -> Scale:
    """Units of the data."""
    episodes = lab.task_data.episodes
    return Scale.of(episodes.obs, episodes.act, episodes.rew, lab.device)


def clone_of(lab: Lab, num_updates: int, seed: int) -> BehaviourClone:
    """A clone of the behaviour, from the episodes that world models train on; says how well it fits the others."""
    train, holdout = split_episodes(lab.task_data.episodes, lab.config.data.holdout_ratio)
    clone = clone_behaviour(train, lab.task_data.stats, num_updates, seed, lab.device)
    obs, act = (torch.from_numpy(x).to(lab.device) for x in (holdout.obs, holdout.act))
    loss = float(clone.loss(obs, act))
    lab.say(f"cloned behaviour: {num_updates} updates, {loss:.2f} nats per action dimension on held-out episodes")
    return clone


def imagined(
    lab: Lab,
    model: WorldModel,
    windows: Windows,
    clone: BehaviourClone,
    generator: torch.Generator,
    rtg: float | Tensor | None = None,
) -> Segments:
    """Segments of a model from the windows' starts, as long as the windows, discount 1 until the task ends. A model
    that follows a policy follows the clone; without `rtg`, each window's own is asked for."""
    segments = model.imagine(
        windows.obs[:, 0],
        windows.act[:, 0],
        policy=(lambda obs, step: clone.sample(obs, generator)) if model.follows_policy else None,
        horizon=windows.obs.shape[1] - 1,
        rtg=windows.rtg if rtg is None else rtg,
        generator=generator,
    )
    return end_imagined_episodes(segments, lab.task_data.task.termination, 1.0)


def futures_of(lab: Lab, segments: Segments) -> Futures:
    """Segments as points."""
    return segment_futures(segments, scale_of(lab))


def true_futures(lab: Lab, windows: Windows) -> Futures:
    """What was recorded."""
    return recorded_futures(windows, scale_of(lab))


def as_json(rows: list[StepDistance]) -> list[dict[str, Any]]:
    """Distances for a study's JSON."""
    return [
        {
            "step": row.step,
            **{
                f"{name}{suffix}": getattr(getattr(row, name), field)
                for name in ("mmd", "energy")
                for suffix, field in (("", "value"), ("_floor", "floor"), ("_p", "p_value"))
            },
            "kl": row.kl,
        }
        for row in rows
    ]

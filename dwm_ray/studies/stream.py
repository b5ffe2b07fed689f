"""What a learner would get from a world model: statistics of a block of imagined segments, filtered as its run does."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from dwm_ray.blocks.stream import end_imagined_episodes
from dwm_ray.config import RunConfig
from dwm_ray.evaluation.clone import BehaviourClone
from dwm_ray.replay.sources import selection
from dwm_ray.studies.base import Lab
from dwm_ray.studies.meter import timed
from dwm_ray.types import Segments
from dwm_ray.world_models.base import WorldModel


@dataclass(frozen=True)
class StreamStatistics:
    """See the module."""

    HEADERS: ClassVar[tuple[str, ...]] = ("reward", "recorded", "outside", "ended", "penalty", "kept", "per s")
    NOTE: ClassVar[str] = (
        "Of what the filter keeps: imagined reward a step beside that of the recorded steps that segments start from; "
        "share of state entries outside the data's range; the model's penalty. Of all that is imagined: share of "
        "segments that end the task, share of rows that are kept, segments a second."
    )

    reward: float
    recorded_reward: float
    outside: float
    ended: float
    penalty: float
    kept: float
    segments_per_s: float

    def cells(self) -> list[float]:
        """In the order of the headers."""
        return list(asdict(self).values())

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def stream_statistics(
    lab: Lab, config: RunConfig, model: WorldModel, clone: BehaviourClone, num_segments: int, seed: int
) -> StreamStatistics:
    """Imagine from random recorded pairs as the run would - a model that follows a policy follows the clone."""
    generator = lab.generator(seed)
    starts = lab.task_data.start_pairs(config.training.discount, lab.device)
    rows = torch.randint(len(starts), (num_segments,), generator=generator, device=lab.device)
    drawn: list[Segments] = []
    seconds = timed(lambda: drawn.append(_imagine(lab, config, model, clone, starts[rows], generator)), lab.device)
    [segments], admit = drawn, selection(config)
    kept = admit.apply(segments, generator)
    # The step that ends the task counts, those after it do not.
    alive = torch.cat([torch.ones_like(kept.discount[:, :1]), (kept.discount[:, :-1] > 0).float()], 1)
    return StreamStatistics(
        reward=_mean_over(kept.rew, alive),
        recorded_reward=float(starts.rew[rows].mean()),
        outside=_outside(lab, kept.obs[:, 1:][alive.bool()]),
        ended=float((segments.discount[:, -1] == 0).float().mean()),
        penalty=_mean_over(kept.penalty, alive),
        kept=len(kept) / (num_segments * admit.rows_per_segment),
        segments_per_s=num_segments / seconds,
    )


def _mean_over(values: Tensor, mask: Tensor) -> float:
    return float((values * mask).sum() / mask.sum())


def _imagine(
    lab: Lab, config: RunConfig, model: WorldModel, clone: BehaviourClone, starts: Segments, generator: torch.Generator
) -> Segments:
    segments = model.imagine(
        starts.obs[:, 0],
        starts.act[:, 0],
        policy=(lambda obs, step: clone.sample(obs, generator)) if model.follows_policy else None,
        horizon=min(config.synthesis.horizon, model.max_horizon),
        rtg=config.synthesis.target_rtg,
        generator=generator,
    )
    return end_imagined_episodes(segments, lab.task_data.task.termination, config.training.discount)


def _outside(lab: Lab, states: Tensor) -> float:
    """Fraction of entries [..., O] beyond what any recorded state has in that dimension."""
    obs = torch.from_numpy(lab.task_data.episodes.obs).to(states.device)
    low, high = obs.amin(0), obs.amax(0)
    return float(((states < low) | (states > high)).float().mean())

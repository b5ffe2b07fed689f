"""Statistics of a block of generated segments, filtered as in a run: the data that a learner would receive."""

from dataclasses import asdict, dataclass
from typing import ClassVar

import torch
from torch import Tensor

from dwm_ray.blocks.stream import generate_from
from dwm_ray.config import RunConfig
from dwm_ray.evaluation.clone import BehaviourClone
from dwm_ray.replay.sources import selection, start_rtg
from dwm_ray.studies.base import StudyContext
from dwm_ray.studies.bursts import timed
from dwm_ray.types import Segments
from dwm_ray.world_models.base import WorldModel


@dataclass(frozen=True)
class StreamStatistics:
    """Statistics of one block."""

    HEADERS: ClassVar[tuple[str, ...]] = (
        "reward", "recorded", "outside", "ended", "penalty", "selected", "segments/s",
    )  # fmt: skip
    NOTE: ClassVar[str] = (
        "Of selected rows: generated reward per step, reward of the recorded steps that segments start from, fraction "
        "of state entries outside the range of the data, penalty of the model. Of all rows: fraction of segments that "
        "end the task, fraction of rows that the filter selects, segments per second."
    )

    reward: float
    recorded_reward: float
    outside: float
    ended: float
    penalty: float
    selected: float
    segments_per_s: float

    def cells(self) -> list[float]:
        """Return the cells in the order of the headers."""
        return list(asdict(self).values())


def stream_statistics(
    context: StudyContext, config: RunConfig, model: WorldModel, clone: BehaviourClone, num_segments: int, seed: int
) -> StreamStatistics:
    """Generate segments from random recorded pairs as in the run; a model that follows a policy follows the clone."""
    generator = context.generator(seed)
    starts = context.task_data.start_pairs(config.training.discount, context.device)
    rows = torch.randint(len(starts), (num_segments,), generator=generator, device=context.device)
    rtg = start_rtg(config, context.task_data, context.device)
    pairs, found = starts[rows], list[Segments]()

    def sample() -> None:
        segments = generate_from(
            model,
            pairs,
            context.task_data.task.termination,
            config.training.discount,
            policy=clone.policy(generator),
            horizon=min(config.synthesis.horizon, model.max_horizon),
            rtg=rtg[rows],
            generator=generator,
        )
        found.append(segments)

    seconds = timed(sample, context.device)
    [segments], select = found, selection(config)
    selected = select.apply(segments, generator)
    # The step that ends the task counts; later ones do not.
    alive = selected.alive
    return StreamStatistics(
        reward=_mean_over(selected.rew, alive),
        recorded_reward=float(starts.rew[rows].mean()),
        outside=_outside(context, selected.obs[:, 1:][alive]),
        ended=float((segments.discount[:, -1] == 0).float().mean()),
        penalty=_mean_over(selected.penalty, alive),
        selected=len(selected) / (num_segments * select.rows_per_segment),
        segments_per_s=num_segments / seconds,
    )


def _mean_over(values: Tensor, mask: Tensor) -> float:
    return float((values * mask).sum() / mask.sum())


def _outside(context: StudyContext, states: Tensor) -> float:
    """Return the fraction of entries [..., O] outside the recorded range of their dimension."""
    obs = torch.from_numpy(context.task_data.episodes.obs).to(states.device)
    low, high = obs.amin(0), obs.amax(0)
    return float(((states < low) | (states > high)).float().mean())

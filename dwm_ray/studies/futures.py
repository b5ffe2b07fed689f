"""Generated and recorded futures with disjoint starts, for studies that compare distributions.

Generated futures start in one half of the windows and are compared with the recorded futures of the other half. The
same comparison with the recorded futures of the first half is the floor: the distance of a perfect model."""

import torch

from dwm_ray.blocks.stream import end_imagined_episodes
from dwm_ray.data.split import split_episodes
from dwm_ray.data.windows import WindowSet
from dwm_ray.evaluation.clone import BehaviourClone, clone_behaviour
from dwm_ray.evaluation.futures import Futures, Scale, recorded_futures, segment_futures
from dwm_ray.studies.base import StudyContext
from dwm_ray.types import Segments, Windows
from dwm_ray.world_models.base import WorldModel


def halves(windows: WindowSet, num_each: int, generator: torch.Generator) -> tuple[Windows, Windows]:
    """Return windows to start from and windows to compare with, `num_each` of each or half of all windows."""
    order = torch.randperm(windows.num_windows, generator=generator, device=generator.device)
    num = min(num_each, windows.num_windows // 2)
    return windows.gather(order[:num]), windows.gather(order[num : 2 * num])


def clone_of(context: StudyContext, num_updates: int, seed: int) -> BehaviourClone:
    """Clone the behaviour from the training episodes of world models; log its loss on the held-out ones."""
    train, holdout = split_episodes(context.task_data.episodes, context.config.data.holdout_ratio)
    clone = clone_behaviour(train, context.task_data.stats, num_updates, seed, context.device)
    obs, act = (torch.from_numpy(x).to(context.device) for x in (holdout.obs, holdout.act))
    loss = float(clone.loss(obs, act))
    context.log(f"cloned behaviour: {num_updates} updates, {loss:.2f} nats per action dimension on held-out episodes")
    return clone


def generate_like(
    context: StudyContext,
    model: WorldModel,
    windows: Windows,
    clone: BehaviourClone,
    generator: torch.Generator,
    rtg: float | None = None,
) -> Segments:
    """Generate segments from the starts of windows, of the same length; the default `rtg` is that of each window.

    The first step is imagined too. A model that follows a policy follows the clone. The discount is 1.
    """
    segments = model.imagine(
        windows.obs[:, 0],
        windows.act[:, 0],
        policy=clone.policy(generator),
        horizon=windows.obs.shape[1] - 1,
        rtg=windows.rtg if rtg is None else rtg,
        generator=generator,
    )
    return end_imagined_episodes(segments, context.task_data.task.termination, discount=1.0)


def futures_in(context: StudyContext, source: Segments | Windows) -> Futures:
    """Return generated segments or recorded windows as futures in units of the data."""
    episodes = context.task_data.episodes
    scale = Scale.of(episodes.obs, episodes.act, episodes.rew, context.device)
    return segment_futures(source, scale) if isinstance(source, Segments) else recorded_futures(source, scale)

"""What a run is about: the data it learns from, the task that they belong to, and the model that fits them.

One process and the cluster build these the same way, from a `RunConfig` alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from dwm_ray import __version__
from dwm_ray.agents.base import Agent
from dwm_ray.config import RunConfig, fingerprint
from dwm_ray.data.load import load_episodes
from dwm_ray.data.split import split_episodes
from dwm_ray.data.statistics import describe
from dwm_ray.data.windows import RtgKind, WindowSet
from dwm_ray.graphs import expect_gpu
from dwm_ray.registry import find
from dwm_ray.tasks import TaskSpec, task_for
from dwm_ray.types import DataStats, Episodes
from dwm_ray.world_models.base import WorldModel, WorldModelConfig, model_options


@dataclass(frozen=True)
class Problem:
    """Loaded data, with what was computed from them once."""

    episodes: Episodes
    task: TaskSpec
    stats: DataStats

    @staticmethod
    def of(config: RunConfig, episodes: Episodes) -> Problem:
        """What a run has to do with episodes that are loaded already."""
        stats = describe(episodes, config.training.discount)
        return_scale = max(abs(stats.rtg_min), abs(stats.rtg_max))  # tasks without a printed scale: labels in -1..1
        return Problem(episodes, task_for(config.task, episodes.card.env_id, return_scale), stats)

    @property
    def ends_unexplained(self) -> bool:
        """Do the data have terminations that no rule of the task tells?"""
        return not self.task.termination_known and bool(self.episodes.terminated.any())

    @property
    def identity(self) -> DataIdentity:
        return DataIdentity(self.episodes.card.fingerprint, self.task.rtg_scale)


@dataclass(frozen=True)
class DataIdentity:
    """What other processes need to know of the data to name what is made from them."""

    fingerprint: str
    rtg_scale: float


def load_problem(config: RunConfig, expect: str | None = None) -> Problem:
    """Load a run's data. `expect` is the fingerprint that another process saw: other content is an error."""
    episodes = load_episodes(config.task, config.data)
    if expect is not None and episodes.card.fingerprint != expect:
        raise ValueError(
            f"{episodes.card.path}: this machine holds other data (fingerprint {episodes.card.fingerprint}) than the "
            f"run was started with ({expect}); every node needs the same file"
        )
    return Problem.of(config, episodes)


def default_device() -> torch.device:
    """The first GPU that this process may use, else the CPU. Convolutions keep float32 there too, as options say."""
    torch.backends.cudnn.allow_tf32 = False
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def device_for(config: RunConfig) -> torch.device:
    """The device of a run in this process; ValueError where its options ask for another, before anything is trained."""
    device = default_device()
    if config.training.cuda_graphs:
        expect_gpu(device, "training.cuda_graphs")
    if config.synthesis.cuda_graphs and config.world_model is not None:
        expect_gpu(device, "synthesis.cuda_graphs")
    return device


def model_fingerprint(config: RunConfig, data: DataIdentity) -> str:
    """Name of the trained world model of a run: equal for every run that may share it."""
    model = model_options(config)
    return fingerprint(
        {
            "code": __version__,
            "data": data.fingerprint,
            "holdout": config.data.holdout_ratio,
            "discount": config.training.discount,
            "rtg_scale": data.rtg_scale,
            "model": model.plugin_name(),
            "options": model.training_options(),
        }
    )


def new_model(config: RunConfig, problem: Problem, device: torch.device) -> WorldModel:
    """An untrained world model with fitted normalisers; its initial weights follow from `world_model.seed`."""
    options = resolved(model_options(config), problem)
    cls = find("world_models", options.plugin_name())
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(options.seed)
        model: WorldModel = cls(options, problem.episodes.spaces)
    model.fit_normalizers(problem.episodes)
    return model.to(device)


def resolved(options: WorldModelConfig, problem: Problem) -> WorldModelConfig:
    """A model's options with what `continuation: auto` comes to on these data: learned where they have terminations
    that no rule of the task tells."""
    if getattr(options, "continuation", "off") != "auto":
        return options
    return options.model_copy(update={"continuation": "on" if problem.ends_unexplained else "off"})


def new_agent(config: RunConfig, problem: Problem, device: torch.device) -> Agent:
    """An untrained agent; its initial weights follow from the run's seed."""
    cls = find("agents", config.agent.plugin_name())
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        agent: Agent = cls(config.agent, problem.episodes.spaces, problem.stats, config.training)
    return agent.to(device)


def window_sets(config: RunConfig, problem: Problem, length: int, device: torch.device) -> tuple[WindowSet, WindowSet]:
    """Training and held-out windows of `length` states; whole episodes are held out."""
    kind: RtgKind = getattr(config.world_model, "rtg_kind", "episode")
    discount, scale = config.training.discount, problem.task.rtg_scale
    train, holdout = split_episodes(problem.episodes, config.data.holdout_ratio)
    return (
        WindowSet(train, length, discount, scale, kind, device),
        WindowSet(holdout, length, discount, scale, kind, device),
    )

"""Base classes of plug-ins and their options, and all options of a run."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field

from dwm_ray.options.frozen import Frozen, fingerprint
from dwm_ray.options.groups import (
    ClusterConfig,
    DataConfig,
    EvaluationConfig,
    ExecutionConfig,
    ReplayConfig,
    SynthesisConfig,
    TrainingConfig,
)

PLACEMENT = ("execution", "cluster")
"""Groups that determine where and how a run is executed, but not its results."""

Profile = Literal["laptop", "paper", "published"]


class PluginConfig(Frozen):
    """Options of a plug-in. Defaults are those of the paper."""

    plugin: ClassVar[type[Any]]
    """The plug-in class that these options belong to."""

    @classmethod
    def plugin_name(cls) -> str:
        """Return the name of the plug-in: the name of its module."""
        return cls.__module__.rpartition(".")[2]

    @classmethod
    def for_profile(cls, profile: Profile) -> Self:
        """Return the default options in a profile."""
        return cls(**cls.laptop()) if profile == "laptop" else cls()

    @classmethod
    def laptop(cls) -> dict[str, Any]:
        """Return the options that the profile `laptop` changes."""
        return {}

    @classmethod
    def run_options(cls, profile: Profile) -> dict[str, Any]:
        """Return defaults of other options for runs with this plug-in, by dotted path; flags override them."""
        return {}

    @classmethod
    def task_options(cls, task: str) -> dict[str, Any]:
        """Return defaults of options for runs on a task, by dotted path; they override `run_options`."""
        return {}

    def check(self, run: RunOptions) -> None:
        """Raise ValueError if this plug-in cannot work with the other options of a run."""


class Plugin:
    """Base of world models, agents and filters.

    A plug-in names its options class `Config`. The first paragraph of its module docstring is its summary in the
    documentation.
    """

    Config: ClassVar[type[PluginConfig]]
    label: ClassVar[str] = ""
    """Printed name in tables and figures. It is not inherited; default: the plug-in's name in title case."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Set the plug-in of the options class."""
        super().__init_subclass__(**kwargs)
        if "Config" in vars(cls) and "plugin" not in vars(cls.Config):
            cls.Config.plugin = cls


class RunOptions(Frozen):
    """Options of a run with resolved plug-ins; `dwm_ray.config.RunConfig` also resolves their names."""

    task: Annotated[str, Field(min_length=1)] = "halfcheetah-medium-replay"
    """A name from the task table, minari:DATASET, ogbench:NAME, or any name together with data.file."""
    seed: int = 0
    """Seed of the agent: initial weights, batches, noise, evaluation."""
    data: DataConfig = DataConfig()
    world_model: PluginConfig | None = None
    agent: PluginConfig
    filter: PluginConfig
    synthesis: SynthesisConfig = SynthesisConfig()
    replay: ReplayConfig = ReplayConfig()
    training: TrainingConfig = TrainingConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    execution: ExecutionConfig = ExecutionConfig()
    cluster: ClusterConfig = ClusterConfig()

    @property
    def trial_id(self) -> str:
        """Name of the trial with these options; trials with equal identity have equal names."""
        return fingerprint(self.identity())[:10]

    def identity(self) -> dict[str, Any]:
        """Return the JSON tree of the options that determine results: all groups except `PLACEMENT`."""
        return self.model_dump(mode="json", exclude=set(PLACEMENT))

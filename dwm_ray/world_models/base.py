"""What a world model is: it learns from windows and turns start pairs into imagined segments."""

from __future__ import annotations

import copy
from abc import abstractmethod
from collections.abc import Callable
from typing import Annotated, Any, ClassVar, Self

import torch
from pydantic import Field
from torch import Tensor, nn

from dwm_ray.options import Plugin, PluginConfig, PositiveInt, RunOptions
from dwm_ray.types import Episodes, Metrics, Policy, Segments, Spaces, Windows


class WorldModelConfig(PluginConfig):
    """Options common to world models: how they are trained."""

    SAMPLING: ClassVar[frozenset[str]] = frozenset()
    """Options that change what is drawn but not the weights, so that the weights are shared across their values."""

    num_updates: PositiveInt = 2_000_000
    """Gradient steps of the world model."""
    batch_size: PositiveInt = 64
    """Windows per gradient step, over all workers."""
    learning_rate: Annotated[float, Field(gt=0)] = 1e-4
    """Step size of Adam."""
    final_learning_rate: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Learning rate of the last update as a share of the first one's, with a half cosine between; 1 is constant."""
    ema_decay: Annotated[float, Field(ge=0, lt=1)] = 0.995
    """Decay of the averaged weights that are used for sampling; 0 samples from the last weights."""
    ema_every: PositiveInt = 10
    """Gradient steps between two updates of the average."""
    seed: int = 0
    """Seeds the world model; apart from the run's seed, so that all seeds of a sweep share it."""

    horizon_limit: ClassVar[tuple[str, int]] = ("sequence_length", 1)
    """The option, where a model has it, that bounds horizons, and how far below it they stay: T states, T - 1 steps."""

    @property
    def disagrees(self) -> bool:
        """Do segments come with a penalty?"""
        return False

    def check(self, run: RunOptions) -> None:
        option, below = self.horizon_limit
        limit = getattr(self, option, None)
        if limit is not None and run.synthesis.horizon > limit - below:
            relation = "be below" if below else "not exceed"
            raise ValueError(f"synthesis.horizon {run.synthesis.horizon} must {relation} world_model.{option} {limit}")
        if run.execution.sampler_cuda_graphs and not self.plugin.capturable:
            raise ValueError(
                f"execution.sampler_cuda_graphs: world model {self.plugin_name()} does not support CUDA graphs; "
                "expected False"
            )

    def training_options(self) -> dict[str, object]:
        """The options that decide the weights; they enter the model's fingerprint."""
        return self.model_dump(mode="json", exclude=set(self.SAMPLING))


def sampling_options(config: RunOptions) -> dict[str, Any]:
    """The options by which a run may differ from others that share its world model's weights."""
    model = model_options(config)
    return model.model_dump(mode="json", include=set(model.SAMPLING))


def model_options(config: RunOptions) -> WorldModelConfig:
    """The world model's options of a run that has one."""
    assert isinstance(config.world_model, WorldModelConfig)
    return config.world_model


class WorldModel(Plugin, nn.Module):
    """Interface. Construct, `fit_normalizers` (or load a state dict), train with `loss`, then `imagine`."""

    Config: ClassVar[type[WorldModelConfig]]
    follows_policy: ClassVar[bool]
    """True where segments depend on the learning policy: such a model is rolled out inside the learner's loop."""
    reads_ahead: ClassVar[bool] = False
    """True where a state depends on actions after it: recorded ones tell it what no learner could know."""
    makes_transitions: ClassVar[bool] = False
    """True where a segment has all its actions and agents learn from its steps one by one, as from recorded data."""
    keeps_start: ClassVar[bool] = True
    """False where segments begin in states of the model's own making instead of the start pairs."""
    uses_rtg: ClassVar[bool] = True
    """False where the return-to-go asked for changes nothing."""
    work: ClassVar[float] = 0.0
    """Operations of rolling it out within an update, in the unit of `Agent.work`; else 0."""
    capturable: ClassVar[bool] = False
    """True where `imagine` can be recorded and replayed (`graphs`): without a policy, and given the return-to-go as a
    tensor on the device, its operations follow from the number of rows and the horizon alone."""

    def __init__(self, config: WorldModelConfig, spaces: Spaces) -> None:
        super().__init__()
        self.config = config
        self.spaces = spaces

    @property
    @abstractmethod
    def sequence_length(self) -> int:
        """T: states per training window."""

    @property
    def windows_per_update(self) -> int:
        """Windows that `loss` gets in an update, over all workers."""
        return self.config.batch_size

    @property
    def state_normalizer(self) -> Callable[[Tensor], Tensor] | None:
        """What `loss` does to all raw states first, where that is dear: training then does it once and for all, and
        windows bring the result as `scaled`."""
        return None

    @property
    @abstractmethod
    def max_horizon(self) -> int:
        """The longest segment that one call of `imagine` gives."""

    def check_horizon(self, horizon: int) -> None:
        """ValueError for segments that `imagine` cannot give."""
        if not 1 <= horizon <= self.max_horizon:
            option, _ = self.config.horizon_limit
            raise ValueError(f"horizon {horizon} is outside 1..{self.max_horizon} (world_model.{option})")

    @abstractmethod
    def fit_normalizers(self, episodes: Episodes) -> None:
        """Set the normalisers' buffers (saved with the weights) from real data."""

    @abstractmethod
    def loss(self, windows: Windows, generator: torch.Generator) -> tuple[Tensor, Metrics]:
        """Scalar loss, mean over the unmasked entries, and metrics. Windows and generator on the model's device."""

    def with_options(self, options: dict[str, Any]) -> Self:
        """The same weights, imagining with other options of `SAMPLING`."""
        other = copy.copy(self)
        other.config = type(self.config).model_validate({**self.config.model_dump(), **options})
        return other

    def observe(self, holdout: Windows) -> bool:
        """Called on the averaged weights at every log line, with held-out windows, for models that keep their best
        weights (in buffers, so that a resume has them). True where training on would not pay."""
        return False

    def finish(self, holdout: Windows) -> None:
        """Called once after training with held-out windows, for models that choose something by them."""

    @abstractmethod
    def imagine(
        self,
        obs: Tensor,  # [B, O] raw
        act: Tensor,  # [B, A] raw
        *,
        policy: Policy | None,
        horizon: int,
        rtg: float | Tensor,  # scalar or [B], units of the task's scale; ignored by models without RTG
        generator: torch.Generator,
    ) -> Segments:
        """Segments of `horizon` steps in raw units, source 1; discount 1, or 0 from the step on that the model itself
        ends the task with (`synthesis` multiplies by gamma and the task's rule).

        `policy` gives the actions from step 1 on, for models that follow one. Runs without gradients.
        """

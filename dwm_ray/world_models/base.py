"""Interface of world models: learn from windows, generate segments from start pairs."""

import copy
from abc import abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Annotated, Any, ClassVar, Literal, Self

import torch
from pydantic import Field
from torch import Tensor, nn

from dwm_ray.options import Plugin, PluginConfig, PositiveInt, RunOptions
from dwm_ray.types import Episodes, Metrics, Policy, Segments, Spaces, Windows
from dwm_ray.world_models.parts.return_bias import ReturnBias


class WorldModelConfig(PluginConfig):
    """Training options common to all world models."""

    SAMPLING: ClassVar[frozenset[str]] = frozenset()
    """Options that change generated segments but not the weights; trained models are shared across their values."""

    num_updates: PositiveInt = 2_000_000
    """Gradient steps of the world model."""
    batch_size: PositiveInt = 64
    """Windows per gradient step, over all workers."""
    learning_rate: Annotated[float, Field(gt=0)] = 1e-4
    """Learning rate of Adam."""
    final_learning_rate: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Ratio of the final to the initial learning rate on a cosine schedule; 1 is a constant rate."""
    ema_decay: Annotated[float, Field(ge=0, lt=1)] = 0.995
    """Decay of the averaged weights that are used for sampling; 0 samples from the last weights."""
    ema_every: PositiveInt = 10
    """Gradient steps between two updates of the average."""
    seed: int = 0
    """Seed of the world model; separate from the run's seed, so that all seeds of a sweep share one model."""

    horizon_limit: ClassVar[tuple[str, int]] = ("sequence_length", 1)
    """(option, offset): the horizon is at most the option's value minus the offset. T states are T - 1 steps."""

    @property
    def has_penalty(self) -> bool:
        """Whether segments carry a penalty (disagreement)."""
        return False

    @property
    def unused(self) -> frozenset[str]:
        """Names of options that have no effect with the values of the others."""
        return frozenset()

    def check(self, run: RunOptions) -> None:
        option, below = self.horizon_limit
        limit = getattr(self, option, None)
        if limit is not None and run.synthesis.horizon > limit - below:
            raise ValueError(
                f"synthesis.horizon: {run.synthesis.horizon} is too long for world_model.{option} {limit}; expected at "
                f"most {limit - below}"
            )
        if run.replay.real_steps == "horizon" and self.plugin.follows_policy and not self.plugin.makes_transitions:
            raise ValueError(
                f"replay.real_steps: world model {self.plugin_name()} is rolled out within updates, and its recorded "
                "rows are transitions; expected one"
            )
        if run.execution.sampler_cuda_graphs and not self.plugin.supports_cuda_graphs:
            raise ValueError(
                f"execution.sampler_cuda_graphs: world model {self.plugin_name()} does not support CUDA graphs; "
                "expected False"
            )

    def training_options(self) -> dict[str, object]:
        """Return the options that determine the weights; they enter the model's fingerprint."""
        return self.model_dump(mode="json", exclude=set(self.SAMPLING))


class FirstStepConfig(WorldModelConfig):
    """Options of models that can continue from a recorded first step."""

    SAMPLING: ClassVar[frozenset[str]] = frozenset({"first_step"})

    first_step: Literal["recorded", "imagined"] = "imagined"
    """First step of a segment. 'recorded': the next state and the reward of the start pair come from the data, and the
    model continues from them; for a pair whose next state is unknown, the model generates them. 'imagined': the model
    always generates them, as in the papers."""


def sampling_options(config: RunOptions) -> dict[str, Any]:
    """Return the options in which runs that share a trained world model may differ."""
    model = model_options(config)
    return model.model_dump(mode="json", include=set(model.SAMPLING))


def model_options(config: RunOptions) -> WorldModelConfig:
    """Return the options of a run's trained world model; the run must have one."""
    options = trained_options(config)
    assert options is not None
    return options


def trained_options(config: RunOptions) -> WorldModelConfig | None:
    """Return the options of a run's trained world model; None if the run has none (see `WorldModel.trained`)."""
    if config.world_model is None or not config.world_model.plugin.trained:
        return None
    assert isinstance(config.world_model, WorldModelConfig)
    return config.world_model


@dataclass(frozen=True)
class SegmentRequest:
    """Start pairs and the conditions under which they are continued."""

    obs: Tensor  # [B, O] raw
    act: Tensor  # [B, A] raw
    policy: Policy | None
    horizon: int
    rtg: Tensor  # [B] return-to-go in units of the task's scale
    generator: torch.Generator
    first: Segments | None = None
    """Recorded first steps of the start pairs (H = 1), if segments continue from them."""


class WorldModel(Plugin, nn.Module):
    """Base class. Construct, `fit_normalizers` (or load a state dict), train with `loss`, then call `imagine`."""

    trained: ClassVar[bool] = True
    """Whether the model is trained, stored under its fingerprint and called for segments. Otherwise only the class's
    declarations are used, and a batch source provides the segments (see `replay.sources`)."""
    follows_policy: ClassVar[bool]
    """Whether segments depend on the learning policy; such a model is rolled out inside the learner's loop."""
    sees_future_actions: ClassVar[bool] = False
    """Whether a generated state depends on later actions, so that recorded actions leak the recorded future."""
    makes_transitions: ClassVar[bool] = False
    """Whether segments hold every action and agents learn from each step as from a recorded transition."""
    starts_from_data: ClassVar[bool] = True
    """Whether segments begin with the requested start pairs; otherwise the model generates their first states too."""
    uses_rtg: ClassVar[bool] = True
    """Whether segments depend on the requested return-to-go."""
    relative_flops: ClassVar[float] = 0.0
    """Cost of a rollout within an agent's update, in the unit of `Agent.relative_flops`; 0 if generated ahead."""
    supports_cuda_graphs: ClassVar[bool] = False
    """Whether `imagine` can be captured as a CUDA graph: without a policy and with the return-to-go as a tensor, its
    operations depend on the number of rows and the horizon only."""

    def __init__(self, config: WorldModelConfig, spaces: Spaces) -> None:
        super().__init__()
        self.config = config
        self.spaces = spaces
        self.return_bias: ReturnBias | None = None  # learned after the model, if it corrects its returns

    @property
    def sequence_length(self) -> int:
        """T: states per training window."""
        return int(self.config.sequence_length)  # type: ignore[attr-defined]  # not an option of all models

    @property
    def max_horizon(self) -> int:
        """Longest segment of one call of `imagine`."""
        return self.sequence_length - 1

    @property
    def uses_first_step(self) -> bool:
        """Whether `imagine` continues from recorded first steps, if it receives them."""
        return getattr(self.config, "first_step", "imagined") == "recorded"

    @property
    def windows_per_update(self) -> int:
        """Windows that `loss` receives per update, over all workers."""
        return self.config.batch_size

    @property
    def state_normalizer(self) -> Callable[[Tensor], Tensor] | None:
        """Normaliser of raw states, if it is expensive; training applies it once and passes `Windows.scaled`."""
        return None

    @abstractmethod
    def fit_normalizers(self, episodes: Episodes) -> None:
        """Set the normalisers' buffers (saved with the weights) from recorded data."""

    @abstractmethod
    def loss(self, windows: Windows, generator: torch.Generator) -> tuple[Tensor, Metrics]:
        """Return the scalar loss, mean over the unmasked entries, and metrics."""

    @abstractmethod
    def generate(self, request: SegmentRequest) -> Segments:
        """Generate segments for a validated request of `imagine`, which disables gradients."""

    @torch.no_grad()
    def imagine(
        self,
        obs: Tensor,
        act: Tensor,
        *,
        policy: Policy | None,
        horizon: int,
        rtg: float | Tensor,
        generator: torch.Generator,
        first: Segments | None = None,
    ) -> Segments:
        """Generate segments of `horizon` steps from raw start pairs [B, O] and [B, A].

        `policy` provides the actions from step 1 on; models that follow none ignore it. `rtg` is a number or [B], in
        units of the task's scale. Segments are in raw units, of source 1. Their discount is 1 until the model predicts
        a termination and 0 from that step on (`blocks.stream` multiplies it by gamma and the task's rule).

        `first` holds the recorded transitions of the start pairs, as segments of length 1. If the model continues from
        them (`uses_first_step`), the first step of every segment is the recorded one, without penalty.

        Raises:
            ValueError: The horizon is outside 1..`max_horizon`, or a policy is needed and missing.
        """
        if not 1 <= horizon <= self.max_horizon:
            option, _ = self.config.horizon_limit
            raise ValueError(f"horizon: got {horizon}; expected 1..{self.max_horizon} (world_model.{option})")
        if self.follows_policy and policy is None and horizon > 1:
            raise ValueError(f"policy: missing; expected one for later actions of {self.config.plugin_name()}")
        rtg = rtg.to(obs).expand(len(obs)) if isinstance(rtg, Tensor) else obs.new_full((len(obs),), rtg)
        if first is None or not self.uses_first_step:
            return self.generate(SegmentRequest(obs, act, policy, horizon, rtg, generator))
        first = replace(first, discount=(first.discount > 0).to(obs.dtype))
        segments = self.generate(SegmentRequest(obs, act, policy, horizon, rtg, generator, first))
        return _with_first_step(segments, first)

    def with_options(self, options: dict[str, Any]) -> Self:
        """Return a copy that shares the weights and has other values of `SAMPLING` options."""
        other = copy.copy(self)
        other.config = type(self.config).model_validate({**self.config.model_dump(), **options})
        return other

    def observe(self, holdout: Windows) -> bool:
        """Evaluate held-out windows, at every log line, and return True to end training; state must be in buffers."""
        return False

    def finish(self, holdout: Windows) -> None:
        """Choose and calibrate parts of the model on held-out windows, once after training."""


def generated(obs: Tensor, act: Tensor, rew: Tensor, discount: Tensor, penalty: Tensor | None = None) -> Segments:
    """Return generated segments of source 1; the penalty is 0 if none is given."""
    penalty = torch.zeros_like(rew) if penalty is None else penalty
    return Segments(obs, act, rew, discount, penalty, source=rew.new_ones(len(rew)))


def _with_first_step(segments: Segments, first: Segments) -> Segments:
    """Return segments whose first step is the recorded one of `first` (H = 1, discount 0 or 1)."""
    return replace(
        segments,
        obs=torch.cat([segments.obs[:, :1], first.obs[:, 1:], segments.obs[:, 2:]], 1),
        rew=torch.cat([first.rew, segments.rew[:, 1:]], 1),
        discount=torch.cat([first.discount, first.discount * segments.discount[:, 1:]], 1),
        penalty=torch.cat([torch.zeros_like(first.rew), segments.penalty[:, 1:]], 1),
    )


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed torch's CPU generator for a block of code and restore its state afterwards."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield

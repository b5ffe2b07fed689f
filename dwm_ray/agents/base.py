"""What an agent is: it learns from segments, whoever made them, and gives a policy."""

from __future__ import annotations

from abc import abstractmethod
from types import SimpleNamespace
from typing import Annotated, Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from dwm_ray.agents.parts.noise import Generators, Noise
from dwm_ray.devices import Precision
from dwm_ray.options import Fraction, Plugin, PluginConfig, RunOptions, TrainingConfig
from dwm_ray.types import DataStats, Metrics, Segments, Spaces


class AgentConfig(PluginConfig):
    """Options common to agents."""

    matmul_precision: Precision = "fp32"
    """Arithmetic of the hidden layers' matrix products; weights, sums, first and last layers stay fp32. 'auto' is bf16
    where the device has instructions for it, else fp32."""

    @classmethod
    def small(cls) -> dict[str, Any]:
        """1.8 times the updates a second on such a processor; learning curves agree with those of fp32."""
        return {"matmul_precision": "auto"}

    def check(self, run: RunOptions) -> None:
        """Updates can be compiled where the agent says so, and CUDA graphs where batches are drawn ahead, too."""
        agent, model = self.plugin, run.world_model
        if run.execution.compiled and not agent.supports_compile:
            raise ValueError(f"execution.compiled: agent {self.plugin_name()} cannot be compiled; expected False")
        if not run.execution.cuda_graphs:
            return
        if not agent.supports_cuda_graphs:
            raise ValueError(
                f"execution.cuda_graphs: agent {self.plugin_name()} does not support CUDA graphs; expected False"
            )
        if model and not agent.plans and model.plugin.follows_policy:
            raise ValueError(
                f"execution.cuda_graphs: world model {model.plugin_name()} imagines as learning goes on; expected "
                "False or one whose segments are drawn ahead"
            )


class CriticConfig(AgentConfig):
    """Options common to agents that bootstrap: what their targets are made of (`targets.TargetRule`)."""

    return_lambda: Fraction = 1.0
    """lambda of the lambda-return over imagined steps: 1 is value expansion (MVE), 0 is one-step TD."""
    penalty_weight: Annotated[float, Field(ge=0)] = 0.0
    """kappa: weight of the model's disagreement, subtracted from each imagined reward."""
    target_clip: Literal["none", "data"] = "data"
    """Guard of the critic: 'data' clips targets to the range of discounted returns that the data allow."""


class Agent(Plugin, nn.Module):
    """Interface. An nn.Module, so that `state_dict` holds networks, targets and normalisers; optimisers are apart.

    Initial weights come from torch's global generator: seed it before construction. Order: construct, `.to(device)`,
    then `load_state_dict` and `load_optimizer_state` where a run resumes.
    """

    Config: ClassVar[type[AgentConfig]]
    has_critic: ClassVar[bool] = True
    """False where nothing bootstraps: imagined rewards and horizons change nothing."""
    plans: ClassVar[bool] = False
    """True where acting samples the run's world model, which `attach` hands over; learning is from real data alone."""
    member_options: ClassVar[dict[str, int] | None] = None
    """None: cannot learn as a population (`agents.population`). Else `update` takes [P, B, ...] too, and these are the
    options in which members may differ, with the number of axes behind P that each is broadcast over."""

    relative_flops: ClassVar[float] = 1.0
    """Operations of an update with the options of the profile `laptop`, in those of behaviour cloning, about: sweeps
    begin long trials first."""
    supports_cuda_graphs: ClassVar[bool] = False
    """True where `learn` can be recorded and replayed (`graphs`)."""
    supports_compile: ClassVar[bool] = False
    """True where torch can compile `learn` as a whole: all its noise is what `sample_noise` gives."""

    def __init__(self, config: AgentConfig, spaces: Spaces, stats: DataStats, training: TrainingConfig) -> None:
        super().__init__()
        self.config = config
        self.spaces = spaces
        self.member_values = SimpleNamespace(**{name: getattr(config, name) for name in self.member_options or ()})
        """The `member_options`: numbers, or tensors [P, 1, ...] in a population whose members differ in them."""

    def attach(self, model: nn.Module, target_rtg: float) -> None:
        """Take the trained world model and the return-to-go to ask it for, for agents that plan; the model becomes part
        of `state_dict`."""
        raise AssertionError(f"{type(self).__name__} does not plan")

    def update(self, segments: Segments, generator: torch.Generator) -> Metrics:
        """One gradient step from a batch; see `learn`."""
        return self.learn(segments, generator, self.next_update_kind())

    def next_update_kind(self) -> int:
        """Count the update that comes next and set its learning rates: all that Python knows of it. Returns what
        decides its operations, such as whether a delayed policy moves."""
        return 0

    def sample_noise(self, segments: Segments, generator: Generators) -> Noise:
        """All noise of `learn`, which takes it in the generator's place; the generator itself where it needs none."""
        return generator

    @abstractmethod
    def learn(self, segments: Segments, generator: torch.Generator, kind: int) -> Metrics:
        """Make the gradient steps of an update and return metrics: 0-d tensors on the device, without a host sync.

        With `supports_cuda_graphs` the operations depend only on the batch's shape and `kind`, and change only tensors
        that keep their memory.
        """

    @abstractmethod
    def act(self, obs: Tensor) -> Tensor:
        """Greedy action [B, A] in the task's bounds for raw observations [B, O]; no gradients, no randomness."""

    @abstractmethod
    def explore(self, obs: Tensor, generator: torch.Generator) -> Tensor:
        """Action [B, A] of the policy that on-policy expansion follows (TD3: smoothed target action), no gradients."""

    @abstractmethod
    def optimizer_state(self) -> dict[str, Tensor]:
        """Everything beyond `state_dict` that a resume needs, as named tensors (safetensors cannot hold more)."""

    @abstractmethod
    def load_optimizer_state(self, state: dict[str, Tensor]) -> None:
        """Inverse of `optimizer_state`."""
